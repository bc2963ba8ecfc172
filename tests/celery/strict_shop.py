"""A shop whose Celery settings would end, slow down or garble our tasks, if they reached them."""

import os

from celery import Celery
from kombu import Exchange, Queue

from sagaworker.celery import install

app = Celery("strict", broker=os.environ["SAGAWORKER_BROKER_URL"], strict_typing=False)
sagas = install(app)
app.conf.broker_connection_retry_on_startup = True
app.conf.task_soft_time_limit = 1
app.conf.task_time_limit = 2
app.conf.task_default_rate_limit = "1/h"
app.conf.task_acks_late = True
app.conf.task_reject_on_worker_lost = True
app.conf.task_track_started = True
app.conf.accept_content = ["pickle"]
app.conf.task_serializer = "pickle"
app.conf.task_annotations = {
    "*": {"rate_limit": "1/h", "acks_late": True, "soft_time_limit": 1, "time_limit": 2, "serializer": "pickle"},
    "sagaworker.run_saga": {"time_limit": 1},
}
app.conf.task_queues = [Queue("orders", Exchange("orders"), routing_key="orders")]
app.conf.task_routes = {"shop.*": {"queue": "orders"}}
app.conf.beat_schedule = {"shop.tick": {"task": "shop.tick", "schedule": 3600}}


@app.task(name="shop.hang")
def hang():
    while True:
        pass
