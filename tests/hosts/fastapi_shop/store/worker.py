import os

from celery import Celery
from kombu import Exchange, Queue

from sagaworker.celery import install

app = Celery("store", broker=os.environ["BROKER_URL"], backend=os.environ["RESULT_BACKEND"], include=["store.tasks"])
app.conf.update(
    broker_connection_retry_on_startup=True,
    task_soft_time_limit=1,
    task_time_limit=2,
    task_acks_late=True,
    task_default_queue="store",
    task_queues=[Queue("store", Exchange("store"), routing_key="store")],
    task_annotations={"*": {"rate_limit": "3000/m", "soft_time_limit": 1}},
)
sagas = install(app, database_url=os.environ["DATABASE_URL"], step_packages="store.steps")
