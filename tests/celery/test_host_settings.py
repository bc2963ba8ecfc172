"""What a host may set on an app, one by one from Celery's own list: none of it reaches our tasks."""

from __future__ import annotations

import pytest
from celery import Celery, Task, signals
from celery.app.defaults import NAMESPACES, flatten
from celery.beat import Scheduler, Service
from kombu import Exchange, Queue

from sagaworker.celery import install
from sagaworker.celery.tasks.ours import is_ours
from sagaworker.domain.records import Doorbell
from sagaworker.doorbell.publisher import Doorbells
from tests.celery.stage import ACTS
from tests.showing import timeline
from tests.waiting import wait_until

SETTINGS = {"database_url": "postgresql://localhost/none", "sweep_interval": 10}
ODD = {"serializer": "pickle", "rate_limit": "1/h", "priority": 7, "time_limit": 1, "soft_time_limit": 1}
# Of a task's public attributes, those that are what it is and not how it is treated.
ITSELF = {"name", "app", "backend", "request", "request_stack", "Request", "Strategy", "run", "throws", "ignore_result"}
# What a task's attributes put on its messages, as `Task._get_exec_options` has it.
IN_MESSAGES = {
    *("queue", "routing_key", "exchange", "priority", "expires", "serializer", "delivery_mode", "compression"),
    *("time_limit", "soft_time_limit", "immediate", "mandatory"),
}
TREATED = sorted(
    name
    for name in set(vars(Task)) | set(dict(Task.from_config)) | IN_MESSAGES
    if not name.startswith("_") and name not in ITSELF and not callable(getattr(Task, name, None))
    if not isinstance(vars(Task).get(name), (classmethod, property)) and name not in {"from_config", "abstract"}
)


def an_app(**conf):
    app = Celery("theirs", broker="memory://", set_as_current=False)
    install(app, **SETTINGS)
    app.conf.update(conf)
    app.finalize()
    return app


def treatment(app):
    return {
        (name, attribute): getattr(task, attribute, None)
        for name, task in app.tasks.items()
        if is_ours(name)
        for attribute in TREATED
    }


def opposite(value):
    return not value if isinstance(value, bool) else "odd" if value is None else value * 2


@pytest.fixture(scope="module")
def plain():
    return treatment(an_app())


def test_celerys_own_list_is_what_is_tested():
    assert {name for name, _ in Task.from_config} <= set(TREATED) | ITSELF
    assert {"acks_late", "max_retries", "rate_limit", "expires", "compression", "track_started"} <= set(TREATED)


@pytest.mark.parametrize(("attribute", "setting"), Task.from_config)
def test_no_setting_for_all_tasks_reaches_ours(plain, attribute, setting):
    options = dict(flatten(NAMESPACES))
    value = ODD.get(attribute, opposite(options[setting].default))
    assert treatment(an_app(**{setting: value})) == plain


@pytest.mark.parametrize("attribute", TREATED)
@pytest.mark.parametrize("named", ["*", "sagaworker.run_saga"])
def test_no_annotation_reaches_our_tasks(plain, attribute, named):
    value = ODD.get(attribute, opposite(getattr(Task, attribute, None)))
    assert treatment(an_app(task_annotations={named: {attribute: value}})) == plain
    around = {"sagaworker.run_saga": {attribute: value, "@run": lambda _run: None}}
    assert treatment(an_app(task_annotations=around)) == plain
    assert treatment(an_app(task_annotations=[{named: {attribute: value}}])) == plain


def test_queues_routes_and_schedule_assigned_after_install_keep_ours():
    app = Celery("theirs", broker="memory://", set_as_current=False)
    install(app, **SETTINGS)
    assert app.conf.task_queues is not None  # somebody has read it
    app.conf.task_routes = {"shop.*": {"queue": "fast"}}
    app.conf.beat_schedule = {"theirs": {"task": "shop.tick", "schedule": 60}}
    app.conf.task_queues = [Queue("fast", Exchange("fast"), routing_key="fast")]
    assert app.amqp.routes[0].map["sagaworker.run_saga"] == {"queue": "sagas"}
    signals.celeryd_init.send(sender="a worker", instance=type("Worker", (), {"app": app}), conf=app.conf)
    assert set(app.amqp.queues) == {"fast", "sagas", "control"}
    service = Service(app, scheduler_cls=Scheduler)
    service.scheduler.schedule.pop("sagaworker.sweep_orphans", None)  # as where its entries are read from a database
    signals.beat_init.send(sender=service)
    assert set(service.scheduler.schedule) == {"theirs", "sagaworker.sweep_orphans"}


@pytest.mark.parametrize("none", [[], (), {}, None])
def test_an_app_without_queues_keeps_its_default_queue(none):
    app = Celery("theirs", broker="memory://", set_as_current=False)
    app.conf.task_queues = none
    install(app, **SETTINGS)
    assert set(app.amqp.queues) == {"celery", "sagas", "control"}


def test_a_saga_outlives_its_hosts_limits_and_the_hosts_own_tasks_do_not(stage):
    worker = stage.worker("-c", "2", env={"C_FORCE_ROOT": "1"}, app="tests.celery.strict_shop")
    hung = stage.client.send_task("shop.hang", queue="orders", serializer="pickle")
    run = stage.engine.start("slow", [{"step": ACTS, "params": {"seconds": 3.5}}] * 2)
    other = stage.client.send_task(
        "sagaworker.start_saga", args=["slow", [ACTS]], kwargs={"key": "k"}, queue="control", time_limit=1, rate_limit=1
    )
    done = stage.finished(run.id)
    assert done.status == "completed", timeline(stage.engine, run.id)
    assert [row.attempts for row in stage.engine.list_step_results(run.id)] == [1, 1]
    assert stage.engine.list(kind="slow", key="k"), other
    wait_until(lambda: f"Soft time limit (1s) exceeded for shop.hang[{hung.id}]" in worker.logs())
    assert "task_annotations must not name sagaworker.run_saga, got time_limit" in worker.logs()


@pytest.mark.parametrize(
    "conf",
    [
        {"task_compression": "zstd"},
        {"task_default_delivery_mode": 1},
        {"task_protocol": 1},
        {"task_serializer": "pickle"},
        {"task_default_queue": "shop"},
        {"task_default_exchange": "shop", "task_default_exchange_type": "topic", "task_default_routing_key": "shop.#"},
        {"task_create_missing_queue_exchange_type": "topic"},
        {"task_create_missing_queues": False},
        {"task_default_queue_type": "quorum"},
        {"task_queue_max_priority": 10, "task_default_priority": 5},
        {"task_send_sent_event": True},
        {"enable_utc": False, "timezone": "Asia/Kolkata"},
        {"task_publish_retry": True, "task_publish_retry_policy": {"max_retries": 1}},
        {"task_routes": {"*": {"queue": "shop", "serializer": "yaml", "compression": "bzip2", "delivery_mode": 1}}},
        {"task_routes": ("shop.routes.everything",)},
    ],
    ids=lambda conf: next(iter(conf)),
)
def test_a_doorbell_is_sent_whatever_its_app_sends_otherwise(conf):
    app = an_app(**conf)
    Doorbells(app).ring([Doorbell(saga_id="s", kind="k", key=None)])
    message = sent_to(app, "sagas")
    assert message.headers["task"] == "sagaworker.run_saga"
    assert_readable(message)
    app.send_task("sagaworker.cancel_saga", args=["s"])
    app.tasks["sagaworker.start_saga"].delay("kind")
    for _ in range(2):
        assert_readable(sent_to(app, "control"))


def sent_to(app, queue):
    with app.connection_for_read() as connection:
        message = connection.channel().basic_get(queue, no_ack=True)
    assert message is not None
    return message


def assert_readable(message):
    assert message.content_type == "application/json"
    assert message.properties["delivery_mode"] == 2
    assert message.headers.get("compression") in (None, "application/x-gzip")
