"""The settings of the ready-made app, each with its reason. A `celeryconfig.py` imports these and changes some.

What our own tasks need is set on the tasks themselves and by `install`; an app of your own keeps its configuration.
docs/celery.md says which of these to consider there.
"""

from sagaworker.doorbell.publisher import direct_queue, verified
from sagaworker.settings import Settings

_settings = Settings.from_env()

broker_url = _settings.broker_url or "redis://localhost:6379/0"

# A certificate that is not checked keeps nobody out.
broker_use_ssl = verified(broker_url)

# A broker that is away comes back: wait for it, at start too, rather than leave after a hundred tries.
broker_connection_retry_on_startup = True
broker_connection_max_retries = None

broker_transport_options = {
    **(
        {
            # A connection that vanished without a word shows in seconds, not by TCP's own time-out of 15 minutes.
            # Longer than the second for which the consumer blocks in BRPOP.
            "socket_timeout": 10,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
            # What a killed main had taken from the queue and not begun comes back sooner than every 100 s.
            "unacked_restore_interval": 10,
            "unacked_restore_throttle": 10,
        }
        if broker_url.startswith(("redis", "valkey", "sentinel"))
        else {}
    ),
    **(_settings.broker_options or {}),
}

# JSON only: a pickle is a program.
task_serializer = "json"
accept_content = ["json"]

# What a task came to is in the ledger. A Redis result backend that is gone blocks its clients for 20 s.
task_ignore_result = True

# The doorbell is single attempt: acknowledged when it is taken, never retried, never re-sent. A late acknowledgement
# runs twice what is longer than the visibility time-out, and runs what kills its worker again and again.
task_acks_late = False
task_reject_on_worker_lost = False

# Nothing waits in a worker behind a running saga: with prefetch, what lies behind a long task is delivered twice after
# the visibility time-out, and waits there while other workers are idle.
worker_disable_prefetch = True
worker_prefetch_multiplier = 1

# Losing the broker's connection says nothing about the step that is running. (Celery 6 will say the opposite.)
worker_cancel_long_running_tasks_on_connection_loss = False

# A misspelt queue name is an error, not a queue that nobody consumes.
task_create_missing_queues = False

# Exchange and routing key are both named: without them a second queue takes the first one's. `celery` is where clients
# without our routes send.
task_queues = [direct_queue(name) for name in ("celery", _settings.queue, _settings.control_queue)]

# Flower lives on events.
worker_send_task_events = True
task_send_sent_event = True

# Beat answers a ping, so it can be watched.
beat_enable_remote_control = True
# Our entries are all intervals: nothing is to be remembered between two runs, so no file either.
beat_scheduler = "celery.beat:Scheduler"
