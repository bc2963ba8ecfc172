"""On RabbitMQ: queues are declared as the app declares them, by whoever is first, and never any other way."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path
from queue import Queue

import pytest
from kombu import Connection

from sagaworker.celery import install
from sagaworker.domain.records import Doorbell
from sagaworker.doorbell.publisher import Doorbells
from sagaworker.settings import Settings
from tests.brokers.house import app_of
from tests.brokers.servers import Certificate, RabbitMQ
from tests.celery.hearing import RARELY, WHOLE, Heard, until
from tests.celery.stage import ACTS, Stage
from tests.waiting import wait_until

SHOP = "tests.brokers.shop"
UNSWEPT = 600.0  # what is walked was rung by its doorbell
HOUSES = {
    "plain": {},
    "priorities": {"task_queue_max_priority": 9, "task_default_priority": 5},
    "quorum by default": {"task_default_queue_type": "quorum", "worker_detect_quorum_queues": True},
    "quorum where missing": {"task_create_missing_queue_type": "quorum", "task_default_queue_type": "quorum"},
    "own queues": {
        "queues": {
            "celery": {"x-max-length": 10_000},
            "sagas": {"x-max-priority": 3},
            "control": {"x-message-ttl": 60_000},
            "billing": {"x-queue-mode": "lazy"},
        }
    },
    "topic": {"task_default_exchange": "shop", "task_default_exchange_type": "topic"},
}


@pytest.mark.parametrize("house", HOUSES)
def test_a_client_that_rings_first_keeps_no_worker_away(house: str, vhost: str, stages) -> None:
    """A client of its own (SAGAWORKER_BROKER_URL only) knows nothing of the queues' arguments."""
    stage: Stage = stages(vhost, sweep_interval=UNSWEPT)
    env = {"SHOP_CONF": json.dumps(HOUSES[house])}
    early = stage.engine.start("early", [ACTS, ACTS])
    stage.worker(app=SHOP, env=env)
    late = [stage.engine.start("late", [ACTS, ACTS], priority=priority) for priority in (None, 1)]
    stage.engine.ring(early.id)
    stage.finished(early.id, *(run.id for run in late))
    assert not stage.breaches(early.id, *(run.id for run in late))


@pytest.mark.parametrize("house", ["priorities", "quorum by default", "own queues"])
def test_the_app_itself_rings_first_and_its_queues_are_there(house: str, vhost: str, stages) -> None:
    """With the app in hand a doorbell waits in the queue that the worker will find as it wants it."""
    stage: Stage = stages(vhost, sweep_interval=UNSWEPT)
    app = app_of(HOUSES[house], vhost, set_as_current=False)
    sagas = install(app, database_url=stage.database_url, step_packages=stage.settings.step_packages)
    with sagas.engine as engine:
        runs = [engine.start("own", [ACTS]), engine.start("own", [ACTS], queue="billing")]
        app.send_task("sagaworker.start_saga", args=("by task", [ACTS]), kwargs={"key": "one"})
    assert waiting(vhost, "sagas") == 1
    stage.worker("-Q", "celery,sagas,control,billing", app=SHOP, env={"SHOP_CONF": json.dumps(HOUSES[house])})
    (sent,) = wait_until(lambda: stage.engine.list(key="one"), what="the saga that was started by a message")
    stage.finished(*(run.id for run in runs), sent.id)


def test_a_client_with_other_queue_arguments_than_the_worker_still_rings(vhost: str, stages) -> None:
    """Two deployments of one shop disagree about arguments; a doorbell does not declare then."""
    stage: Stage = stages(vhost, sweep_interval=UNSWEPT)
    stage.worker(app=SHOP, env={"SHOP_CONF": json.dumps({"task_queue_max_priority": 9})})
    app = app_of({"task_queue_max_priority": 4}, vhost, set_as_current=False)
    with install(app, database_url=stage.database_url, step_packages=stage.settings.step_packages).engine as engine:
        run = engine.start("other", [ACTS])
    stage.finished(run.id)


def test_a_broker_that_stands_still_holds_no_caller(rabbitmq: RabbitMQ, vhost: str) -> None:
    """Connected or not, a ring gives up: the caller is a web request, and the sweep rings later."""
    doorbells = Doorbells.from_settings(Settings(broker_url=vhost))
    bell = Doorbell(saga_id="01a00000-0000-7000-8000-000000000000", kind="k")
    doorbells.ring([bell])
    rabbitmq.send(signal.SIGSTOP)
    try:
        for caller in (doorbells, Doorbells.from_settings(Settings(broker_url=vhost))):
            ended: Queue[Exception | None] = Queue()
            threading.Thread(target=lambda to, who: to.put(rung(who, bell)), args=(ended, caller), daemon=True).start()
            assert ended.get(timeout=60) is not None
    finally:
        rabbitmq.send(signal.SIGCONT)
        doorbells.close()


@pytest.mark.parametrize("rings", [False, True])
def test_a_forked_child_leaves_the_connection_of_its_parent_open(rabbitmq: RabbitMQ, vhost: str, rings: bool) -> None:
    """Main rings for a dead child and then forks another one: kombu would shut main's socket down in the child."""
    command = [sys.executable, "-m", "tests.brokers.forking", vhost, str(rabbitmq.port), str(rings)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.stdout.strip() == "the same", ended.stderr


def test_over_tls_a_client_asks_for_a_certificate_that_it_can_verify(
    server_folder: Path, tmp_path: Path, stages
) -> None:
    folder = server_folder / tmp_path.name
    certificate = Certificate(folder / "tls")
    with RabbitMQ(folder / "rabbitmq", certificate) as server:
        url = f"amqps://guest:guest@localhost:{server.tls_port}//"
        trusting = {"ssl": {"ca_certs": str(certificate.file), "cert_reqs": 2, "server_hostname": "localhost"}}
        stage: Stage = stages(url, sweep_interval=UNSWEPT, broker_options=trusting)
        stage.worker()
        run = stage.engine.start("encrypted", [ACTS])
        stage.finished(run.id)
        with pytest.raises(Exception, match="certificate verify failed"):
            Doorbells.from_settings(Settings(broker_url=url)).ring([Doorbell.of(run)])


def rung(doorbells: Doorbells, bell: Doorbell) -> Exception | None:
    """The first ring may go into the socket's buffer; one of many cannot."""
    for _ in range(20_000):
        try:
            doorbells.ring([bell] * 50)
        except Exception as exc:
            return exc
    return None


def waiting(broker_url: str, queue: str) -> int:
    with Connection(broker_url) as connection:
        return connection.default_channel.queue_declare(queue, passive=True).message_count


def test_task_events_that_wait_go_before_the_worker_does(stages, vhost):
    stage = stages(vhost)
    leaving = stage.worker(app=RARELY)
    with Heard(stage).listening(vhost) as heard:
        stage.finished(stage.engine.start("left", ["steps.echo"], key="l1").id)
        leaving.kill("SIGTERM")
        leaving.wait()
        until(heard, "left", WHOLE)
