"""Somebody's app whose configuration is in SHOP_CONF, with sagas installed."""

import json
import os

from sagaworker.celery import install
from tests.brokers.house import app_of

app = app_of(json.loads(os.environ.get("SHOP_CONF", "{}")), os.environ["SAGAWORKER_BROKER_URL"])
if options := json.loads(os.environ.get("SAGAWORKER_BROKER_OPTIONS", "{}")):
    app.conf.broker_transport_options = options
sagas = install(app)


@app.task(name="shop.greet")
def greet(name):
    print(f"hello {name}")
