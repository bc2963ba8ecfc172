"""One row that cannot be recovered is journaled and passed over; all others are recovered."""

import pytest

from sagaworker.domain.status import RunStatus
from tests.recovery.abandoned import execute, orphan, types
from tests.waiting import wait_until

SKIPPED = "saga.recovery_skipped"


@pytest.fixture
def engine(engine):
    """Without the audit at the end: what is corrupted here is what it would find."""
    engine.audit = list
    return engine


CORRUPTIONS = {
    "recoveries that overflow": "UPDATE saga_runs SET recoveries = 2147483647 WHERE id = %s",
    "a journal ahead of its run": "UPDATE saga_runs SET seq = 0 WHERE id = %s",
    "a row's recoveries that overflow": "UPDATE saga_step_results SET recoveries = 2147483647 WHERE saga_id = %s",
}


@pytest.mark.parametrize("corruption", CORRUPTIONS.values(), ids=CORRUPTIONS)
def test_one_poisoned_run_among_many_is_passed_over_and_all_others_recover(engine, corruption):
    runs = [orphan(engine, recovery_policy="restart") for _ in range(9)]
    poison = runs[4]
    execute(engine, corruption, poison.id)
    result = engine.sweep()
    assert (result.restarted, result.skipped) == (8, 1)
    for run in runs:
        if run is not poison:
            assert engine.run(run.id).status is RunStatus.COMPLETED
    engine.sweep()
    note = [entry for entry in engine.timeline(poison.id).journal if entry.type == SKIPPED]
    assert len(note) == 1
    assert note[0].data["fence"] == 1
    assert note[0].data["status"] == "running"
    assert note[0].data["reason"]


CORRUPT_LISTS = {
    "an object": "{}",
    "a number": "7",
    "a text": '"steps.echo"',
    "entries that are no steps": "[7, null]",
    "an entry without a step": '[{"id": "x"}]',
    "an empty list": "[]",
    "a step that is gone": '["steps.gone"]',
    "a step that is not allowed": '["os.path"]',
}


@pytest.mark.parametrize("steps", CORRUPT_LISTS.values(), ids=CORRUPT_LISTS)
@pytest.mark.parametrize("policy", ["restart", "compensate", "fail", "hold"])
def test_a_list_that_something_corrupted_strands_only_its_own_saga(engine, rung, steps, policy):
    poison, other = orphan(engine, recovery_policy=policy), orphan(engine)
    execute(engine, "UPDATE saga_runs SET step_modules = %s WHERE id = %s", steps, poison.id)
    result = engine.sweep()
    taken = {"restart": 1, "compensate": 0, "fail": 0, "hold": 0}
    taken[policy] += 1
    assert (result.restarted, result.compensated, result.failed, result.held) == tuple(taken.values())
    assert result.skipped == 0
    assert engine.run(other.id).status is RunStatus.COMPLETED
    if policy == "restart":
        for _ in range(3):
            engine.run(poison.id)
        assert types(engine, poison.id).count(SKIPPED) == 1
        assert engine.get(poison.id).status is RunStatus.RUNNING
    assert len(engine.list()) == 2


def test_inputs_that_something_corrupted_strand_only_their_own_saga(engine):
    poison = orphan(engine)
    execute(engine, "UPDATE saga_runs SET inputs = '7' WHERE id = %s", poison.id)
    assert engine.sweep().restarted == 1
    engine.run(poison.id)
    assert "inputs of saga" in engine.timeline(poison.id).journal[-1].data["reason"]


def test_a_note_is_made_once_for_each_fence_and_never_with_a_stale_one(engine):
    run = orphan(engine)
    assert [engine.ledger.pass_over(run.id, 1, "x") for _ in range(2)] == [True, False]
    assert not engine.ledger.pass_over(run.id, 0, "x")
    engine.sweep()
    assert not engine.ledger.pass_over(run.id, 1, "x")
    assert engine.ledger.pass_over(run.id, 2, "nul \0 and more")
    assert types(engine, run.id).count(SKIPPED) == 2
    assert engine.run(run.id).status is RunStatus.COMPLETED


def test_a_due_row_that_makes_the_wake_fail_does_not_keep_the_others_asleep(engine, rung):
    from tests.episodes import steps  # noqa: F401 - the step's module

    runs = [engine.start("t", ["tests.episodes.steps:RetriesLater"]) for _ in range(9)]
    for run in runs:
        engine.run(run.id)
    poison = runs[3]
    execute(engine, "UPDATE saga_runs SET seq = 0 WHERE id = %s", poison.id)
    execute(engine, "UPDATE saga_runs SET wake_at = now() - interval '1 second'")
    rung.clear()
    assert engine.ring_due() == 8
    assert set(rung) == {run.id for run in runs} - {poison.id}
    assert types(engine, poison.id)[-1] == SKIPPED
    execute(engine, "UPDATE saga_runs SET wake_at = now() WHERE id = %s", poison.id)
    assert engine.ring_due() == 1  # the note went on above the journal's highest row, so it is sound again


def test_rings_that_overflow_do_not_keep_the_others_from_being_rung(engine, rung):
    runs = [engine.start("t", ["steps.echo"]) for _ in range(3)]
    execute(engine, "UPDATE saga_runs SET wake_at = now(), rings = 2147483647")
    rung.clear()
    assert engine.ring_due() == 3
    assert set(rung) == {run.id for run in runs}


def test_many_poisoned_runs_do_not_fill_the_sweep(engine):
    for _ in range(3):
        orphan(engine)
    execute(engine, "UPDATE saga_runs SET recoveries = 2147483647")
    execute(engine, "UPDATE saga_episodes SET lease_until = '-infinity'")
    sound = orphan(engine)
    from sagaworker.recovery import sweep

    batch, sweep.BATCH = sweep.BATCH, 2
    try:
        result = engine.sweep()
    finally:
        sweep.BATCH = batch
    assert (result.restarted, result.skipped) == (1, 3)
    assert engine.run(sound.id).status is RunStatus.COMPLETED


def test_the_witness_leaves_a_poisoned_run_to_the_sweep_and_takes_the_others(engine):
    from tests.holding import claimed, expire

    runs = [engine.start("t", ["steps.echo"]) for _ in range(4)]
    for run in runs:
        claimed(engine, run.id).close()
    execute(engine, "UPDATE saga_runs SET recoveries = 2147483647 WHERE id = %s", runs[0].id)
    assert engine.take_over_dead(engine.owner) == 3
    expire(engine, runs[0].id)
    wait_until(lambda: engine.sweep().skipped == 1)
