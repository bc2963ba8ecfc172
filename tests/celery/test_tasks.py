"""What people do and read, as tasks of an app that has a result backend."""

from __future__ import annotations

import pytest
from celery import Celery

from sagaworker.engine import Engine
from tests.celery.stage import ACTS
from tests.holding import claimed, expire
from tests.waiting import PATIENCE, wait_until

HALTS = "tests.steps_for_tests.acts:HaltsInDoubt"
WHY = {"reason": "asked the bank", "who": "ann"}


@pytest.fixture(scope="module")
def call(stage):
    """Send a task by its name and wait for its answer."""
    stage.worker(app="tests.celery.shop", env={"SHOP_RESULT_BACKEND": stage.broker_url})
    client = Celery("reader", broker=stage.broker_url, backend=stage.broker_url, set_as_current=False)
    yield lambda name, *args, **kwargs: client.send_task(f"sagaworker.{name}", args, kwargs).get(timeout=PATIENCE)
    client.close()


def halted(stage):
    """A saga whose worker died in its first step, and which waits for a person."""
    with Engine(stage.settings) as silent:  # without a doorbell: the real worker must not claim it before us
        run = silent.start("halted", [HALTS, ACTS])
    hold = claimed(stage.engine, run.id)
    hold.close()
    expire(stage.engine, run.id)
    assert stage.engine.claim_for_recovery(run.id) == "ok"
    wait_until(lambda: stage.engine.get(run.id).waiting_for == "operator", what="a saga that waits for a person")
    return run.id


def decided(stage, saga_id):
    """The journal's rows of people: what, and who and why."""
    journal = stage.engine.timeline(saga_id).journal
    return [(one.type, one.data["who"], one.data["reason"]) for one in journal if one.type.startswith("operator.")]


def test_a_saga_is_held_and_released(stage, call):
    gate = stage.folder / "gate"
    run = stage.engine.start("held", [{"step": ACTS, "params": {"gate": str(gate)}}, ACTS])
    stage.holder(run.id)
    assert call("hold_saga", run.id, **WHY) == "running"
    gate.touch()
    wait_until(lambda: stage.outcomes(run.id) == ["yielded"], what="an episode that lets go of a saga on hold")
    assert call("release_saga", run.id, **WHY) == "running"
    assert stage.finished(run.id).status == "completed"
    assert [row[1:] for row in decided(stage, run.id)] == [("ann", "asked the bank")] * 2


@pytest.mark.parametrize(
    ("move", "options", "end"),
    [
        ("retry_saga", {}, "completed"),
        ("resolve_saga", {"happened": True, "outputs": {"charge": "ch_7"}}, "completed"),
        ("skip_saga", {}, "rolled_back"),
    ],
)
def test_a_person_moves_a_saga_that_waits(stage, call, move, options, end):
    saga_id = halted(stage)
    explained = call("explain_saga", saga_id)
    assert "whether it happened is not known" in explained["text"]
    with pytest.raises(Exception, match="at journal row 1"):
        call(move, saga_id, **WHY, seq=1, **options)
    call(move, saga_id, **WHY, seq=explained["seq"], **options)
    run = stage.finished(saga_id)
    assert run.status == end
    assert run.context.get("charge") == options.get("outputs", {}).get("charge")
    assert [row[1:] for row in decided(stage, saga_id)] == [("ann", "asked the bank")]


def test_a_move_without_a_name_or_a_reason_is_refused(stage, call):
    run = stage.engine.start("nameless", ["steps.echo"])
    stage.finished(run.id)
    with pytest.raises(Exception, match="who"):
        call("hold_saga", run.id, reason="x")
    with pytest.raises(Exception, match="who must be given"):
        call("hold_saga", run.id, reason="x", who=" ")


def test_what_is_read_is_what_the_engine_reads(stage, call):
    run = stage.engine.start("read", ["steps.echo"] * 2, key="r1", wait=PATIENCE)
    assert call("get_saga", run.id)["context"] == stage.engine.get(run.id).context
    assert [one["id"] for one in call("list_sagas", kind="read", status="completed")] == [run.id]
    rows = call("list_step_results", run.id)
    assert [(row["step_idx"], row["status"]) for row in rows] == [(0, "completed"), (1, "completed")]
