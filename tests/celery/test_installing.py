"""`install` on an app that is there already: ours is added, theirs stays."""

from __future__ import annotations

import subprocess
import sys

import pytest
from celery import Celery
from kombu import Exchange, Queue

from sagaworker import InvalidSetting
from sagaworker.celery import install
from tests.celery.nodes import ROOT
from tests.waiting import wait_until

SETTINGS = {"database_url": "postgresql://localhost/none", "sweep_interval": 0.5}


@pytest.fixture
def app():
    app = Celery("theirs", broker="memory://", set_as_current=False)
    yield app
    app.close()


def consumed(app):
    return set(app.amqp.queues.consume_from)


def queue_of(app, task):
    return app.amqp.router.route({}, task)["queue"].name


def test_ours_is_added_to_an_app_without_configuration(app):
    install(app, **SETTINGS)
    assert consumed(app) == {"celery", "sagas", "control"}
    assert queue_of(app, "sagaworker.run_saga") == "sagas"
    assert queue_of(app, "sagaworker.cancel_saga") == "control"
    assert queue_of(app, "theirs.task") == "celery"
    # Whole seconds at least, for schedulers that keep no others; waking is the workers' own.
    assert list(app.conf.beat_schedule) == ["sagaworker.sweep_orphans"]
    assert app.conf.beat_schedule["sagaworker.sweep_orphans"]["schedule"] == 1
    assert app.conf.beat_schedule["sagaworker.sweep_orphans"]["options"]["expires"] == 1


def test_their_queues_routes_schedule_and_settings_stay(app):
    mine = {"task": "theirs.task", "schedule": 60}
    app.conf.update(
        task_queues=[Queue("fast", Exchange("fast"), routing_key="fast")],
        task_routes={"theirs.*": {"queue": "fast"}},
        beat_schedule={"mine": mine},
        task_acks_late=True,
        result_backend="cache+memory://",
    )
    install(app, **SETTINGS)
    assert consumed(app) == {"fast", "sagas", "control"}
    assert queue_of(app, "theirs.task") == "fast"
    assert queue_of(app, "sagaworker.run_saga") == "sagas"
    assert app.conf.beat_schedule["mine"] == mine
    assert app.conf.task_acks_late is True
    assert app.tasks["sagaworker.run_saga"].acks_late is False
    assert app.conf.worker_consumer.endswith("SafeConsumer")


def test_a_configuration_that_is_loaded_after_install_keeps_ours(app):
    install(app, **SETTINGS)
    assert "sagas" in consumed(app)
    app.config_from_object({"task_routes": {"theirs.*": {"queue": "fast"}}, "worker_consumer": "theirs:Consumer"})
    assert queue_of(app, "sagaworker.run_saga") == "sagas"
    assert app.conf.worker_consumer == "theirs:Consumer"


def test_installing_with_an_unknown_setting_is_refused(app):
    with pytest.raises(InvalidSetting, match="did you mean lease"):
        install(app, leese=3)


def test_their_own_queue_of_a_name_of_ours_is_theirs(app):
    theirs = Queue("sagas", Exchange("elsewhere"), routing_key="x")
    app.conf.task_queues = [theirs]
    install(app, **SETTINGS)
    assert app.amqp.queues["sagas"].exchange.name == "elsewhere"


def test_the_ready_made_app_has_defaults_where_no_celeryconfig_is(tmp_path):
    code = "from sagaworker.celery_app import app; print(app.conf.accept_content, sorted(app.amqp.queues.consume_from))"
    for folder in (ROOT, tmp_path):
        out = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
        assert out.stdout == "['json'] ['celery', 'control', 'sagas']\n"


def test_a_worker_of_their_app_runs_their_tasks_and_our_sagas(stage):
    worker = stage.worker(app="tests.celery.shop")
    stage.send("shop.greet", "world")
    run = stage.engine.start("theirs", ["steps.echo"] * 2)
    assert stage.finished(run.id).status == "completed"
    wait_until(lambda: "hello world" in worker.logs())
