"""Put messages back into their queue, due later: this worker cannot handle them now, and nobody would send them again.

Celery has acknowledged such a message before its task began, so the broker does not keep it.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from celery.exceptions import Ignore

from sagaworker.celery.worker.process import Process
from sagaworker.doorbell.publisher import LEDGER, Doorbells
from sagaworker.ledger.outage import reason

log = logging.getLogger(__name__)

TURN = "sagaworker_turn"  # the header that counts how often a message was put back
LONGEST = 30.0  # seconds between two turns
TURNS = 128  # an hour of outage
PATIENCE = 60.0  # seconds for a broker that is away too
PAUSE = 0.5
PASSED_ON = 9  # turns of another ledger's doorbell: about the time until that ledger's sweep rings again


def after_outage(request: Any, doorbells: Doorbells, outage: Exception) -> None:
    """Put back a move that could not reach the database. Its task has no result yet and keeps its id, so it is done once.

    Raises:
        Ignore: the message was put back.
        Exception: the outage itself, where the message cannot be put back: the sender has to ask again.
    """
    turn = _turn(request)
    if request.is_eager or turn >= TURNS:
        raise outage
    seconds = min(LONGEST, 0.25 * 2 ** min(turn, 10))
    until = time.monotonic() + PATIENCE
    while True:
        try:
            doorbells.again(request, seconds=seconds, headers={TURN: turn + 1})
            break
        except Exception as exc:  # noqa: BLE001 - whatever the broker does, the outage is reported
            if time.monotonic() > until:
                log.error("%s[%s] is lost, send it again: %s; %s", request.task, request.id, reason(outage), exc)  # noqa: TRY400
                raise outage from None
            time.sleep(PAUSE)  # broker and database often go together, and nobody else has this message
    log.warning("%s[%s] waits %g s for the database: %s", request.task, request.id, seconds, reason(outage))
    raise Ignore


def to_its_ledger(request: Any, process: Process) -> None:
    """Leave the doorbell to a worker of its own ledger, if that is another ledger than ours.

    Raises:
        Ignore: the message was put back, or its ledger's sweep will ring again.
    """
    theirs, turn = request.get(LEDGER), _turn(request)
    if theirs is None or request.is_eager:
        return
    ours = process.engine.ledger_id
    if ours is not None and theirs != ours:
        ours = process.engine.ledger_id_now()  # the database may have been moved since this process asked
    if ours is None or theirs == ours:
        return
    log.warning(
        "a doorbell in queue %s is for ledger %s, and this worker has ledger %s: left to its owner; give each service"
        " queues of its own with SAGAWORKER_QUEUE and SAGAWORKER_CONTROL_QUEUE",
        (request.delivery_info or {}).get("routing_key"),
        theirs,
        ours,
    )
    if turn < PASSED_ON:
        try:
            headers = {LEDGER: theirs, TURN: turn + 1}
            process.doorbells.again(request, seconds=0.05 * 2**turn, headers=headers)
        except Exception as exc:  # noqa: BLE001 - the sweep of its ledger rings again
            log.warning("a doorbell of ledger %s was not passed on, its sweep will ring again: %s", theirs, exc)
    raise Ignore


def _turn(request: Any) -> int:
    turn = request.get(TURN)
    return turn if isinstance(turn, int) and turn >= 0 else 0
