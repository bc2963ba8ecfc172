"""How many connections a worker's children hold: counted in pg_stat_activity, with a real prefork worker."""

from __future__ import annotations

import psycopg
import pytest
from psycopg.rows import scalar_row

from tests.celery.stage import ACTS, WAITS
from tests.waiting import wait_until

COUNTED = "a worker whose connections are counted"
CHILDREN = 2
OF_A_CHILD = 2  # its saga's, and one for heartbeat and watches by turns


@pytest.fixture(scope="module")
def stage_settings():
    return {"lease": 2.0, "sweep_interval": 0.5}  # a beat twice a second, and a look as often


def test_a_child_holds_two_connections_while_it_walks_beats_and_watches_and_main_none(stage):
    url = f"{stage.database_url}?application_name={COUNTED.replace(' ', '%20')}"
    worker = stage.worker("-c", str(CHILDREN), env={"SAGAWORKER_DATABASE_URL": url})
    gate = stage.folder / "gate"
    runs = [stage.engine.start("counted", [{"step": WAITS, "params": {"gate": str(gate)}}, ACTS]) for _ in range(2)]
    for run in runs:
        stage.holder(run.id)
    with psycopg.connect(stage.database_url, autocommit=True, row_factory=scalar_row) as connection:

        def asked(query, *parameters):
            return connection.execute(query, parameters or None).fetchall()

        def backends():
            return asked("SELECT pid FROM pg_stat_activity WHERE application_name = %s", COUNTED)

        # Each has watched and has beaten at least once while it walks: what a child does on them, it has done.
        watching = "SELECT pid FROM pg_stat_activity WHERE application_name = %s AND query LIKE '%%rings = least(%%'"
        seen = set()
        wait_until(
            lambda: seen.update(asked(watching, COUNTED)) or len(seen) >= CHILDREN, every=0.01, what="two that watch"
        )
        beaten = (
            "SELECT fence FROM saga_episodes WHERE ended_at IS NULL AND lease_until > started_at + interval '2.1 s'"
            " AND clock_timestamp() < lease_until"
        )
        wait_until(lambda: len(asked(beaten)) == CHILDREN, what="a beat of each child")
        # A beat that meets a look opens one more for a moment.
        wait_until(lambda: len(backends()) == CHILDREN * OF_A_CHILD, what="two for each child that walks")
        gate.touch()
        stage.finished(*(run.id for run in runs))
        wait_until(lambda: len(backends()) == CHILDREN * OF_A_CHILD, what="two for each child that is idle")
    worker.teardown()
