import os

from celery import Celery

from sagaworker.celery import install

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")

app = Celery("shop")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
sagas = install(app, step_packages="shop.steps")
