"""A process that walks sagas, each in a forked child that a failpoint kills.

    python -m tests.payments.killed

Reads one JSON object a line (saga, point, folder, settings) and answers how the child ended. In a process of its own
because pytest has threads; by fork because an interpreter for each of some hundred kills would take minutes.
"""

from __future__ import annotations

import json
import os
import sys

from sagaworker.engine import Engine
from sagaworker.settings import Settings


def _walk(request: dict) -> None:
    os.environ |= {
        "SAGAWORKER_TESTING": "1",
        "SAGAWORKER_FAILPOINTS": f"{request['point']}=kill",
        "SAGAWORKER_FAILPOINTS_FOLDER": request["folder"],
    }
    packages = ("tests.payments",)
    Engine(Settings.from_env({}, database_url=request["database"], step_packages=packages)).run(request["saga"])


if __name__ == "__main__":
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _walk(json.loads(line))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        sys.stdout.write(("killed" if os.WIFSIGNALED(status) else "finished") + "\n")
        sys.stdout.flush()
