"""Flower's configuration: `celery -A sagaworker.celery_app flower --conf=.../sagaworker/flower/config.py`.

Options on the command line override these.
"""

import os

from sagaworker.errors import InvalidSetting
from sagaworker.flower import bound_metrics

# By default Flower listens on every interface, and anybody who reaches it can read.
address = os.environ.get("FLOWER_ADDRESS", "127.0.0.1")
if address not in ("127.0.0.1", "::1", "localhost") and not (
    os.environ.get("FLOWER_BASIC_AUTH") or os.environ.get("FLOWER_AUTH")
):
    raise InvalidSetting(
        f"FLOWER_BASIC_AUTH must be set when Flower is reached from elsewhere, got FLOWER_ADDRESS={address} without it",
        "for example FLOWER_BASIC_AUTH=user:password",
    )

# The saga's readable name and its step, then the result of its last task.
tasks_columns = "name,state,result,uuid,received,runtime,worker"

bound_metrics()
