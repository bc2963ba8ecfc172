"""Somebody's own Celery app on which sagas are installed."""

import os

from celery import Celery

from sagaworker.celery import install

app = Celery("shop", broker=os.environ["SAGAWORKER_BROKER_URL"])
app.conf.broker_connection_retry_on_startup = True
app.conf.result_backend = os.environ.get("SHOP_RESULT_BACKEND")
sagas = install(app)


@app.task(name="shop.greet")
def greet(name):
    print(f"hello {name}")
