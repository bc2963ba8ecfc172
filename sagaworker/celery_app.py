"""The ready-made app: `celery -A sagaworker.celery_app worker`, `beat` or `flower`.

Reads `celeryconfig.py` of the current folder, else the defaults in `sagaworker.celery.config`.
"""

from importlib.util import find_spec

from celery import Celery

from sagaworker.celery import install

app = Celery("sagaworker")
app.config_from_object("celeryconfig" if find_spec("celeryconfig") else "sagaworker.celery.config")
sagas = install(app)
