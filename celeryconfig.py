"""The configuration of `celery -A sagaworker.celery_app ...` when it is started in this folder.

Every setting stands with its reason in sagaworker/celery/config.py; what is assigned below it wins.
"""

from sagaworker.celery.config import *  # noqa: F403 - a configuration is its names
