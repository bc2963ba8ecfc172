"""What a move writes and compares is the time of the move, also inside a step's transaction that began long before."""

from __future__ import annotations

from datetime import timedelta

import psycopg
import pytest

from sagaworker.domain.status import RunStatus
from tests.episodes import steps
from tests.waiting import wait_until

S = "tests.episodes.steps:"
LONG = timedelta(seconds=1)


@pytest.fixture
def asked(engine):
    """Let the step last; what the ledger's clock says at its end."""
    seen = {}
    with psycopg.connect(engine.settings.database_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE effects (saga_id uuid, attempt int)")

        def lasts(state):
            seen.get("meanwhile", lambda *_: None)(connection, state)
            begun = connection.execute("SELECT clock_timestamp()").fetchone()[0]
            wait_until(lambda: connection.execute("SELECT clock_timestamp() - %s > %s", (begun, LONG)).fetchone()[0])
            seen["end"] = connection.execute("SELECT clock_timestamp()").fetchone()[0]

        steps.Transacts.hook = lasts
        yield seen
        steps.Transacts.hook = None


def test_the_step_after_a_long_transaction_has_its_whole_time(engine, asked):
    deadlines = []
    steps.Calls.hook = lambda state: deadlines.append(state.deadline)
    run = engine.run(engine.start("t", [S + "Transacts", S + "Calls"]).id)
    first, second = engine.list_step_results(run.id)
    assert run.status is RunStatus.COMPLETED
    assert asked["end"] <= first.completed_at <= second.started_at
    assert deadlines[0] - second.started_at == timedelta(
        seconds=engine.registry.step(S + "Calls").timeout.total_seconds()
    )


@pytest.mark.parametrize("after", [[], [S + "Works"]])
def test_a_deadline_of_the_run_that_passes_in_a_transaction_is_seen_at_its_end(engine, asked, after):
    def passes(connection, state):
        connection.execute("UPDATE saga_runs SET deadline_at = clock_timestamp() WHERE id = %s", [state.saga_id])

    asked["meanwhile"] = passes
    run = engine.run(engine.start("t", [S + "Transacts", *after], deadline=3600).id)
    assert (run.status, run.error_class) == (RunStatus.ROLLED_BACK, "timed_out")
    assert [row.status for row in engine.list_step_results(run.id)] == ["compensated"]
