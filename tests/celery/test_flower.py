"""What Flower shows, asked through its HTTP API."""

from __future__ import annotations

import pytest

from tests.celery.nodes import Flower
from tests.celery.stage import FAILS_ONCE, WAITS
from tests.waiting import wait_until

STEPS = "tests.steps_for_tests.acts"


@pytest.fixture(scope="module")
def flower(stage):
    stage.worker()
    return stage.run(Flower(stage.folder, stage.env))


def test_a_saga_is_listed_by_its_name_and_place_and_by_what_it_does(stage, flower):
    gate, undo_gate = stage.folder / "gate", stage.folder / "undo-gate"
    steps = [
        *[{"step": WAITS, "params": {"undo_gate": str(undo_gate)}}] * 2,
        {"step": WAITS, "params": {"gate": str(gate), "fail": True}},
    ]
    run = stage.engine.start("checkout", steps, key="order-42")
    seen = wait_until(
        lambda: [task for task in flower.named("checkout[order-42] 3/3") if task["state"] == "EXECUTING"],
        what="the third step in Flower",
    )
    assert seen[0]["name"] == "checkout[order-42] 3/3 Waits"
    gate.touch()
    wait_until(
        lambda: [task for task in flower.named("checkout[order-42] 2/3") if task["state"] == "COMPENSATING"],
        what="the undo of the second step in Flower",
    )
    undo_gate.touch()
    stage.finished(run.id)
    done = wait_until(lambda: [one for one in flower.named("checkout[order-42]") if one["state"] == "FAILURE"])
    assert "SagaNotCompleted" in done[0]["exception"]
    assert "rolled_back" in done[0]["exception"]


@pytest.mark.parametrize(
    ("steps", "state"),
    [
        (["steps.echo"], "SUCCESS"),
        (["steps.echo", "steps.fail"], "FAILURE"),
        ([{"step": f"{STEPS}:RetriesLater"}], "RETRY"),
        ([{"step": f"{STEPS}:UndoFails"}, "steps.fail"], "FAILURE"),
    ],
    ids=["completed", "rolled back", "parked", "failed"],
)
def test_the_state_of_a_task_tells_what_became_of_its_saga(stage, flower, steps, state):
    run = stage.engine.start("told", steps, key=state + str(len(steps)))
    name = f"told[{run.key}]"
    wait_until(lambda: [one for one in flower.named(name) if one["state"] == state], what=f"{name} as {state}")


def test_a_refused_start_is_a_failure_that_says_why(stage, flower):
    task_id = stage.send("sagaworker.start_saga", "refused", ["steps.ehco"])
    task = wait_until(lambda: _of(flower, task_id, "FAILURE"))
    assert "did you mean steps.echo?" in task["exception"]


def test_a_saga_whose_step_is_tried_again_in_place_is_not_a_failure(stage, flower):
    run = stage.engine.start("retried", [FAILS_ONCE], key="r1")
    stage.finished(run.id)
    assert stage.engine.list_step_results(run.id)[0].attempts == 2
    is_over = ("SUCCESS", "FAILURE", "RETRY")
    ended = wait_until(lambda: [one for one in flower.named("retried[r1]") if one["state"] in is_over])
    assert [one["state"] for one in ended] == ["SUCCESS"]


def test_the_counts_of_a_sweep_are_its_result(stage, flower):
    task_id = stage.send("sagaworker.sweep_orphans")
    result = wait_until(lambda: _of(flower, task_id, "SUCCESS"))["result"]
    assert "'restarted': 0" in result
    assert "'held_back':" in result


def test_metrics_have_one_label_a_kind_and_not_one_a_saga(stage, flower):
    for number in range(3):
        stage.finished(stage.engine.start("metered", ["steps.echo"], key=f"secret-{number}").id)
    metrics = wait_until(lambda: _if_in('task="metered"', flower.get("/metrics")))
    assert "secret-" not in metrics
    assert "order-42" not in metrics


def _of(flower, task_id, state):
    task = flower.get("/api/tasks").get(task_id)
    return task if task and task["state"] == state else None


def _if_in(text, whole):
    return whole if text in whole else ""
