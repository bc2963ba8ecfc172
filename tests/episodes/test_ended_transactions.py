"""A TRANSACTIONAL step that ended its own transaction is in doubt, whatever else happens to it, and is undone."""

from __future__ import annotations

import psycopg
import pytest

from sagaworker import RetryPolicy
from sagaworker.domain.status import RunStatus, StepStatus
from tests.episodes import steps
from tests.holding import claimed

S = "tests.episodes.steps:"


@pytest.fixture
def effects(engine):
    with psycopg.connect(engine.settings.database_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE effects (saga_id uuid, attempt int)")
        yield lambda: connection.execute("SELECT attempt FROM effects").fetchall()
    steps.Transacts.hook = None


def commits_and_fails(state):
    state.connection.execute("COMMIT")
    raise RuntimeError("after its own commit")


def died(engine, saga_id):
    claimed(engine, saga_id).close()
    engine.take_over_dead(engine.owner)


def test_a_death_before_it_hides_no_doubt(engine, effects):
    steps.Transacts.hook = commits_and_fails
    run = engine.start("t", [S + "Transacts"], recovery_policy="restart")
    died(engine, run.id)
    assert engine.run(run.id).status is RunStatus.ROLLED_BACK
    row = engine.list_step_results(run.id)[0]
    assert (row.status, row.in_doubt, row.recoveries) == (StepStatus.COMPENSATED, 1, 1)
    assert effects() == [(2,)]
    assert any(effect.startswith("undo 0 unknown") for effect in steps.EFFECTS)


@pytest.mark.parametrize("how", ["policy", "cancel"])
def test_a_death_after_it_hides_no_doubt(engine, effects, how, monkeypatch):
    monkeypatch.setattr(steps.Transacts, "RETRY", RetryPolicy(max_attempts=3, base=60, jitter=False), raising=False)
    steps.Transacts.hook = commits_and_fails
    run = engine.start("t", [S + "Transacts"], recovery_policy="compensate" if how == "policy" else "restart")
    assert engine.run(run.id).waiting_for == "retry"
    with psycopg.connect(engine.settings.database_url, autocommit=True) as connection:
        connection.execute("UPDATE saga_runs SET wake_at = now()")
    died(engine, run.id)
    if how == "cancel":
        engine.cancel(run.id)
    assert engine.run(run.id).status is RunStatus.ROLLED_BACK
    assert engine.list_step_results(run.id)[0].status is StepStatus.COMPENSATED
    assert any(effect.startswith("undo 0 unknown") for effect in steps.EFFECTS)
