"""Sagas through a real worker and broker, sent as any client would: by task name."""

from __future__ import annotations

import json

import pytest
from pytest_celery import CeleryTestSetup

from sagaworker.domain.records import Doorbell
from tests.celery.stage import ACTS, WAITS
from tests.waiting import wait_until

ECHO = "steps.echo"
NAUGHTY = "tests.steps_for_tests.naughty:"
START = "sagaworker.start_saga"


def started_by(stage, task_id, *, kind):
    """The saga that the message with this task id started."""
    found = wait_until(lambda: stage.engine.list(kind=kind, key=f"task:{task_id}"), what=f"a saga by task {task_id}")
    return found[0].id


def begin(stage, kind, steps, **kwargs):
    return started_by(stage, stage.send(START, kind, steps, **kwargs), kind=kind)


def test_the_setup_answers_through_pytest_celery(celery_setup: CeleryTestSetup):
    assert celery_setup.ready(ping=False, control=True, docker=True)
    assert celery_setup.worker.logs().count(" ready.") == 1
    assert len(celery_setup.worker.get_running_processes_info()) == 3


def test_three_echoes_complete_and_leave_their_outputs(stage, worker_container):
    run = stage.finished(begin(stage, "echo", [ECHO] * 3))
    assert run.status == "completed"
    assert sorted(run.context) == ["echoed_at_step_0", "echoed_at_step_1", "echoed_at_step_2"]
    assert [(row.step_name, row.status, row.attempts) for row in stage.engine.list_step_results(run.id)] == [
        ("echo", "completed", 1)
    ] * 3


def test_a_failing_third_step_rolls_the_first_two_back(stage, worker_container):
    run = stage.finished(begin(stage, "fail", [ECHO, ECHO, "steps.fail"]))
    assert run.status == "rolled_back"
    assert run.error == {"reason": "step_failed:fail", "compensate_from_idx": 1}
    assert [row.status for row in stage.engine.list_step_results(run.id)] == ["compensated", "compensated", "failed"]


def test_the_same_start_message_twice_starts_one_saga(stage, worker_container):
    for _ in range(3):
        stage.send(START, "once", [ECHO], task_id="the-same-message")
    stage.finished(started_by(stage, "the-same-message", kind="once"))
    stage.finished(begin(stage, "once", [ECHO]))  # everything before it in the queue was taken
    assert len(stage.engine.list(kind="once")) == 2


def test_a_start_with_a_key_of_its_own_keeps_it(stage, worker_container):
    stage.send(START, "keyed", [ECHO], key="order-42", inputs={"cents": 5})
    run = wait_until(lambda: stage.engine.list(kind="keyed", key="order-42"))[0]
    assert run.inputs == {"cents": 5}


def test_ten_thousand_doubles_of_one_doorbell_walk_the_saga_once(stage):
    # In a queue of their own, with a worker that does not log each of them.
    worker = stage.worker("-Q", "doubles", "-c", "2", "-l", "WARNING", app="tests.celery.shop")
    gate = stage.folder / "gate-doubles"
    run = stage.engine.start("doubled", [{"step": WAITS, "params": {"gate": str(gate)}}] * 3, queue="doubles")
    stage.holder(run.id)
    bell = Doorbell(saga_id=run.id, kind=run.kind, queue="doubles")
    stage.engine.ring_all([bell] * 10_000)
    # Half of them come while it runs, and half when it is over.
    wait_until(lambda: stage.redis.llen("doubles") < 5_000, what="half of the doubles taken")
    gate.touch()
    assert stage.finished(run.id).status == "completed"
    wait_until(lambda: stage.redis.llen("doubles") == 0, what="all doubles taken")
    assert stage.outcomes(run.id) == ["completed"]
    assert not stage.breaches(run.id)
    worker.teardown()


def test_cancel_by_task_undoes_what_was_done(stage, worker_container):
    gate = stage.folder / "gate-cancelled"
    run = stage.engine.start("cancelled", [{"step": WAITS, "params": {"after_gate": str(gate)}}] * 3)
    stage.holder(run.id, within="did")
    stage.send("sagaworker.cancel_saga", run.id, "changed my mind")
    wait_until(lambda: stage.engine.get(run.id).cancel_reason, what="the cancel on record")
    gate.touch()
    done = stage.finished(run.id)
    assert (done.status, done.error_class, done.cancel_reason) == ("rolled_back", "cancelled", "changed my mind")
    assert not stage.breaches(run.id)


# -- what must be refused ------------------------------------------------------------------------------------------------

DEEP: list = []
for _ in range(70):
    DEEP = [DEEP]

REFUSED = {
    "unknown module": ((["steps.ehco"],), {}, "did you mean steps.echo?"),
    "a module outside": ((["os.system"],), {}, "must be in an allowed package"),
    "a path": ((["../../etc/passwd"],), {}, "must be"),
    "empty list": (([],), {}, "must"),
    "too many steps": (([ECHO] * 1001,), {}, "1000"),
    "no list": ((), {}, "must have a definition"),
    "inputs that are no object": (([ECHO], [1]), {}, "inputs must be an object"),
    "NaN": (([ECHO], {"x": float("nan")}), {}, "finite"),
    "NUL": (([ECHO], {"x": "a\x00b"}), {}, "NUL"),
    "a lone surrogate": (([ECHO], {"x": "\ud800"}), {}, "surrogate"),
    "70 levels": (([ECHO], {"x": DEEP}), {}, "64"),
    "unknown option": (([ECHO],), {"priorty": 3}, "did you mean priority"),
    "an option for callers": (([ECHO],), {"wait": 5}, "cannot be given to a task"),
    "a wrong policy": (([ECHO],), {"recovery_policy": "pray"}, "restart, compensate, fail, hold"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_start_fails_with_one_sentence_and_stores_nothing(stage, worker_container, case):
    args, kwargs, sentence = REFUSED[case]
    task_id = stage.send(START, "refused", *args, **kwargs)
    log = wait_until(
        lambda: _of(worker_container, f"[{task_id}] raised expected"), what=f"{task_id} refused in the log"
    )
    assert sentence in log
    assert "Traceback" not in _after(worker_container, f"[{task_id}] received")
    assert stage.engine.list(kind="refused") == []


@pytest.mark.parametrize("name", ["run_saga", "cancel_saga", "get_saga", "start_saga"])
def test_wrong_arguments_fail_with_the_signature(stage, worker_container, name):
    task_id = stage.send(f"sagaworker.{name}", 1, 2, 3, 4, 5, nonsense=True)
    log = wait_until(lambda: _of(worker_container, f"[{task_id}] raised expected"))
    assert f"arguments of sagaworker.{name} must match" in log


def test_a_saga_that_is_not_there_is_named(stage, worker_container):
    task_id = stage.send("sagaworker.run_saga", "00000000-0000-0000-0000-000000000000")
    assert "SagaNotFound" in wait_until(lambda: _of(worker_container, f"[{task_id}] raised expected"))


# -- steps that do what no step should ------------------------------------------------------------------------------------

RECORDED = {
    "ReturnsSeven": ("rolled_back", "got a int"),
    "ExitsPolitely": ("rolled_back", "SystemExit"),
    "RaisesUnprintable": ("rolled_back", "<unprintable: RuntimeError>"),
    "PutsTwoMegabytes": ("rolled_back", "262144 bytes"),
    "PutsNan": ("rolled_back", "finite"),
    "TimesOut": ("rolled_back", "StepTimedOut"),
    "ExitsHard": ("rolled_back", "died 4 times"),
    "KillsItself": ("rolled_back", "died 4 times"),
    "HangsBeyondReach": ("rolled_back", "its worker died in this step"),
}


@pytest.mark.parametrize("name", RECORDED)
def test_a_naughty_step_is_on_record_and_harms_nobody(stage, worker_container, name):
    main = worker_container.pid
    neighbour = stage.engine.start("neighbour", [{"step": ACTS, "params": {"seconds": 0.05}}] * 4)
    run = stage.engine.start("naughty", [ECHO, NAUGHTY + name])
    status, why = RECORDED[name]
    done = stage.finished(run.id)
    rows = stage.engine.list_step_results(run.id)
    assert done.status == status
    assert why in json.dumps(dict(rows[1].error))
    assert stage.finished(neighbour.id).status == "completed"
    assert (worker_container.pid, worker_container.status) == (main, "running")
    assert not stage.breaches(neighbour.id)


def test_nothing_is_wrong_with_the_ledger_after_all_this(stage, worker_container):
    wait_until(lambda: not stage.engine.list(status=["pending", "running", "compensating"]))
    assert stage.engine.audit() == []


def _of(worker, text):
    """The log's lines from the one with this text to the next task's."""
    log = worker.logs()
    at = log.find(text)
    return log[at : at + 1500] if at >= 0 else ""


def _after(worker, text):
    log = worker.logs()
    assert text in log
    return log[log.find(text) :].split("raised expected")[0]
