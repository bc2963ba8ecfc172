"""Redis as teams run it: demoted to a replica under a worker, behind Sentinel, and over TLS."""

from __future__ import annotations

from pathlib import Path

import pytest

from sagaworker.domain.records import Doorbell
from sagaworker.doorbell.publisher import Doorbells
from sagaworker.settings import Settings
from tests.brokers.servers import Certificate, RedisServer, Sentinel
from tests.brokers.test_rabbitmq import UNSWEPT
from tests.celery.stage import ACTS
from tests.waiting import wait_until


@pytest.fixture
def folder(server_folder: Path, tmp_path: Path) -> Path:
    return server_folder / tmp_path.name


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_broker_that_becomes_a_replica_ends_no_worker(folder: Path, stages, pool: str) -> None:
    with RedisServer(folder / "one") as one, RedisServer(folder / "two") as two:
        stage = stages(one.url)
        worker = stage.worker("-P", pool, "-c", "2")
        stage.finished(stage.engine.start("before", [ACTS]).id)
        with one.client() as client:
            client.replicaof("127.0.0.1", str(two.port))
            wait_until(lambda: "read only replica" in worker.logs(), timeout=30, what="that it was noticed")
            run = stage.engine.start("meanwhile", [ACTS])
            assert worker.process.poll() is None
            client.replicaof("NO", "ONE")
        stage.finished(run.id, timeout=60)
        stage.finished(stage.engine.start("after", [ACTS]).id, timeout=60)
        assert worker.process.poll() is None
        assert not stage.breaches(run.id)


def test_behind_sentinel_workers_and_clients_follow_the_master(folder: Path, stages) -> None:
    with (
        RedisServer(folder / "one") as one,
        RedisServer(folder / "two", "--replicaof", "127.0.0.1", str(one.port)) as two,
        Sentinel(folder / "sentinel", one) as sentinel,
    ):
        wait_until(lambda: two.port in sentinel.replicas(), timeout=30, what="that the sentinel knows the replica")
        stage = stages(sentinel.url, broker_options={"master_name": "shop"})
        worker = stage.worker()
        beat = stage.beat()
        stage.finished(stage.engine.start("before", [ACTS]).id)
        one.stop()
        wait_until(lambda: sentinel.master() == two.port, timeout=60, what="a new master")
        run = stage.engine.start("after", [ACTS])
        stage.finished(run.id, timeout=90)
        assert worker.process.poll() is None
        assert beat.process.poll() is None
        assert not stage.breaches(run.id)


def test_over_tls_the_certificate_is_asked_for(folder: Path, stages) -> None:
    certificate = Certificate(folder)
    options = (
        "--tls-cert-file",
        str(certificate.file),
        "--tls-key-file",
        str(certificate.key),
        "--tls-auth-clients",
        "no",
    )
    with RedisServer(folder / "tls", *options, tls=certificate.file) as server:
        stage = stages(server.url, sweep_interval=UNSWEPT)
        stage.worker()
        run = stage.engine.start("encrypted", [ACTS])
        stage.finished(run.id)
        assert not stage.breaches(run.id)
        unknown = Settings(broker_url=f"rediss://127.0.0.1:{server.port}/0")
        with pytest.raises(Exception, match="certificate verify failed"):
            Doorbells.from_settings(unknown).ring([Doorbell.of(run)])
