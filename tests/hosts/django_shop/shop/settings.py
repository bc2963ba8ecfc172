"""Settings as shops have them; what they say of Celery would end, delay or double our tasks if it reached them."""

import os

from kombu import Exchange, Queue
from psycopg import IsolationLevel
from psycopg.conninfo import conninfo_to_dict

SECRET_KEY = "of the tests"
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "shop.urls"
INSTALLED_APPS = ["django.contrib.contenttypes", "django_celery_beat", "shop"]
MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
TEST_RUNNER = "shop.runner.Runner"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "Europe/Berlin"

_where = conninfo_to_dict(os.environ["DATABASE_URL"])


def _database(**options):
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": _where["dbname"],
        "USER": _where.get("user", ""),
        "PASSWORD": _where.get("password", ""),
        "HOST": _where.get("host", ""),
        "PORT": _where.get("port", ""),
        "ATOMIC_REQUESTS": not options,
        "CONN_MAX_AGE": 60,
        "OPTIONS": options,
    }


# One database under several names, as a shop has them for transactions of another kind.
DATABASES = {
    "default": _database(),
    "serializable": _database(isolation_level=IsolationLevel.SERIALIZABLE),
    "repeatable_read": _database(isolation_level=IsolationLevel.REPEATABLE_READ),
    "server_side": _database(server_side_binding=True),
}

CELERY_BROKER_URL = os.environ["BROKER_URL"]
CELERY_RESULT_BACKEND = os.environ["RESULT_BACKEND"]
CELERY_RESULT_EXPIRES = 3600
CELERY_RESULT_EXTENDED = True
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TASK_SOFT_TIME_LIMIT = 1
CELERY_TASK_TIME_LIMIT = 2
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_TASK_TRACK_STARTED = True
CELERY_TASK_DEFAULT_RATE_LIMIT = "6000/m"
CELERY_TASK_ANNOTATIONS = {
    "*": {"acks_late": True, "rate_limit": "3000/m", "time_limit": 2},
    "shop.tasks.send_mail": {"max_retries": 5},
}
CELERY_TASK_DEFAULT_QUEUE = "orders"
CELERY_TASK_DEFAULT_PRIORITY = 5
CELERY_TASK_QUEUE_MAX_PRIORITY = 10
CELERY_TASK_QUEUES = [
    Queue("orders", Exchange("orders"), routing_key="orders"),
    Queue("mails", Exchange("mails"), routing_key="mails", max_priority=5),
]
CELERY_TASK_ROUTES = {"shop.tasks.send_mail": {"queue": "mails", "priority": 3}, "shop.tasks.*": {"queue": "orders"}}
if CELERY_BROKER_URL.startswith("redis"):
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        "priority_steps": list(range(10)),
        "queue_order_strategy": "priority",
        "visibility_timeout": 600,
    }
CELERY_BEAT_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"
CELERY_BEAT_SCHEDULE = {"shop.tick": {"task": "shop.tasks.tick", "schedule": 1.0}}
if "SHOP_SWEEPS" in os.environ:
    CELERY_BEAT_SCHEDULE["sagaworker.sweep_orphans"] = {
        "task": "sagaworker.sweep_orphans",
        "schedule": float(os.environ["SHOP_SWEEPS"]),
        "options": {"queue": "control"},
    }
