"""Sagas on a Celery app: the tasks, the beat schedule, the witness and the polite stop.

>>> from celery import Celery
>>> from sagaworker.celery import install
>>> app = Celery("shop", broker="redis://localhost:6379/0")
>>> sagas = install(app, database_url="postgresql://localhost/sagas")
>>> sagas.engine.start("checkout", ["steps.reserve", "steps.charge_card"], key="order-42")     # doctest: +SKIP
"""

from sagaworker.celery.installation import Installation, install

__all__ = ["Installation", "install"]
