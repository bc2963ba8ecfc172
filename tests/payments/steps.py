"""Steps that charge through the payment service, one for each way out of a doubt."""

from __future__ import annotations

import json
import os
from urllib.request import Request, urlopen

from sagaworker import Probed

VARIABLE = "TEST_PAYMENTS_URL"


def _asked(path, body=None):
    data = None if body is None else json.dumps(body).encode()
    with urlopen(Request(os.environ[VARIABLE] + path, data=data), timeout=60) as answer:
        return json.load(answer)


class WithKey:
    """The service takes our key, so to charge again is to charge once."""

    def execute(self, state):
        body = {"reference": state.saga_id, "cents": 4200, "key": state.idempotency_key}
        return state.put_output("charge", _asked("/charges", body)["id"])


class WithProbe:
    """No keys, but the service can be asked."""

    IN_DOUBT = "probe"

    def execute(self, state):
        return state.put_output(
            "charge", _asked("/charges", {"reference": state.saga_id, "cents": 1, "key": None})["id"]
        )

    def probe(self, state):
        match _asked(f"/charges?reference={state.saga_id}"):
            case [charge]:
                return Probed.completed(state.put_output("charge", charge["id"]))
            case []:
                return Probed.absent()
            case _:
                return Probed.unknown("charged more than once")


class WithHalt(WithProbe):
    """Neither: a person must look."""

    IN_DOUBT = "halt"
