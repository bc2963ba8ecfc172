"""Two services, each with a ledger of its own, on one broker."""

from __future__ import annotations

import json

from tests.brokers.test_rabbitmq import UNSWEPT
from tests.celery.stage import ACTS
from tests.waiting import wait_until


def test_with_queues_of_their_own_each_takes_its_own_starts(broker_url, stages) -> None:
    shops = {
        name: stages(broker_url, sweep_interval=UNSWEPT, queue=name, control_queue=f"{name}-control")
        for name in ("billing", "orders")
    }
    for name, stage in shops.items():
        stage.worker(app="tests.brokers.shop", env={"SHOP_CONF": f'{{"task_default_queue": "{name}-tasks"}}'})
    for name, stage in shops.items():
        ids = [
            stage.client.send_task(
                "sagaworker.start_saga", args=[name, [ACTS]], kwargs={"key": str(n)}, queue=f"{name}-control"
            )
            for n in range(10)
        ]
        wait_until(lambda stage=stage, ids=ids: len(stage.engine.list()) == len(ids), what=f"the starts of {name}")
    for name, stage in shops.items():
        runs = stage.engine.list()
        assert {run.kind for run in runs} == {name}
        stage.finished(*(run.id for run in runs))
        assert not stage.breaches(*(run.id for run in runs))


def test_in_one_queue_a_worker_leaves_the_doorbells_of_another_ledger_to_its_owner(broker_url, stages) -> None:
    """Both have the default names. No sweep rings here: what is walked was rung once, and passed on."""
    ours, theirs = stages(broker_url, sweep_interval=UNSWEPT), stages(broker_url, sweep_interval=UNSWEPT)
    runs = [theirs.engine.start("passed on", [ACTS], key=str(n)) for n in range(3)]
    foreign = ours.worker()
    wait_until(lambda: "is for ledger" in foreign.logs(), what="a word about a doorbell of another ledger")
    assert theirs.engine.ledger_id in foreign.logs()
    assert "SAGAWORKER_QUEUE" in foreign.logs()
    theirs.worker()
    # What was passed on nine times is left to the sweep of its ledger, which is far away here: that sweep is made now.
    for run in runs:
        if not theirs.engine.get(run.id).status.is_terminal:
            theirs.engine.ring(run.id)
    theirs.finished(*(run.id for run in runs))
    assert not theirs.breaches(*(run.id for run in runs))
    assert ours.engine.list() == []


def test_a_doorbell_of_a_copied_ledger_is_not_walked_in_the_copy(broker_url, stages) -> None:
    """A copy has the same sagas. The original's doorbell would be used up, and its saga left waiting."""
    ours, theirs = stages(broker_url, sweep_interval=UNSWEPT), stages(broker_url, sweep_interval=UNSWEPT)
    run = theirs.engine.start("copied", [ACTS])
    with theirs.engine.database.checkout() as original, ours.engine.database.checkout() as copy:
        for table in ("saga_runs", "saga_events"):
            rows = original.execute(
                f"SELECT to_jsonb(t) FROM {table} AS t WHERE to_jsonb(t) ->> 'kind' = 'copied'"
            ).fetchall()
            for (row,) in rows:
                copy.execute(
                    f"INSERT INTO {table} SELECT * FROM jsonb_populate_record(NULL::{table}, %s::jsonb)",
                    (json.dumps(row),),
                )
    foreign = ours.worker()
    wait_until(lambda: "is for ledger" in foreign.logs(), what="a word about a doorbell of another ledger")
    theirs.worker()
    if not theirs.engine.get(run.id).status.is_terminal:
        theirs.engine.ring(run.id)
    theirs.finished(run.id)
    assert str(ours.engine.get(run.id).status) == "pending"


def test_a_doorbell_for_a_saga_that_is_gone_is_no_other_ledgers(broker_url, stages) -> None:
    stage = stages(broker_url)
    worker = stage.worker()
    task = stage.send("sagaworker.run_saga", "01a00000-0000-7000-8000-000000000000")
    wait_until(lambda: task in worker.logs() and "SagaNotFound" in worker.logs(), what="the refusal")
    assert "is for ledger" not in worker.logs()
