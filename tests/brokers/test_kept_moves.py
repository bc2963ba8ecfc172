"""What people ask for while the database is away is done when it is back, and once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from sagaworker.embedded import EmbeddedPostgres
from sagaworker.ledger.migrate import migrate
from tests.celery.stage import ACTS, Stage
from tests.servers import DatabaseServer
from tests.waiting import wait_until


@pytest.fixture
def own_postgres(server_folder: Path, tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(server_folder / f"outage-{tmp_path.name}", durable=False) as server:
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute("ALTER ROLE ALL SET synchronous_commit = on")
        yield server


def test_a_move_that_meets_no_database_is_done_when_it_is_back(own_postgres, broker_url, tmp_path) -> None:
    server = DatabaseServer(own_postgres.url)
    database_url = server.url_of(server.create())
    migrate(database_url)
    stage = Stage(tmp_path, database_url, broker_url)
    try:
        parked = [stage.engine.start("parked", [ACTS], queue="nobody", key=name) for name in ("cancel", "hold")]
        worker = stage.worker("-Q", "sagas,control,celery", "-P", "threads", "-c", "4")
        own_postgres.kill()
        sent = [
            stage.send("sagaworker.cancel_saga", parked[0].id, "no longer wanted"),
            stage.send("sagaworker.hold_saga", parked[1].id, reason="look at it", who="ana"),
            stage.send("sagaworker.start_saga", "new", [ACTS], key="order-1"),
        ]
        for task in sent:
            wait_until(
                lambda task=task: f"[{task}] waits" in worker.logs(), timeout=60, what=f"that {task} is put back"
            )
        own_postgres.start()
        stage.finished(parked[0].id, timeout=90)
        wait_until(lambda: stage.engine.get(parked[1].id).waiting_for, timeout=90, what="the hold")
        (new,) = wait_until(lambda: stage.engine.list(kind="new"), timeout=90, what="the start")
        stage.finished(new.id, timeout=60)
        assert stage.engine.get(parked[0].id).cancel_reason == "no longer wanted"
        assert str(stage.engine.get(parked[0].id).status) == "rolled_back"
        # Once: each of the three asks again while the database is away.
        asked = [entry.type for run in parked for entry in stage.engine.timeline(run.id).journal]
        assert (asked.count("saga.cancel_requested"), asked.count("operator.held")) == (1, 1)
        assert len(stage.engine.list()) == 3
        assert stage.engine.audit() == []
    finally:
        stage.close()
