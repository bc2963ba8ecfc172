"""The settings of the ready-made app, each with its reason. A `celeryconfig.py` imports these and changes some.

The needs of our own tasks are set on the tasks themselves and by `install`; an app of your own keeps its configuration.
docs/celery.md says which of these settings to consider there.
"""

from sagaworker.doorbell.publisher import direct_queue, verified
from sagaworker.settings import Settings

_settings = Settings.from_env()

broker_url = _settings.broker_url or "redis://localhost:6379/0"

# A certificate that is not checked keeps nobody out.
broker_use_ssl = verified(broker_url)

# A broker that is away comes back: wait for it, at the start too, rather than exit after a hundred tries.
broker_connection_retry_on_startup = True
broker_connection_max_retries = None

broker_transport_options = {
    **(
        {
            # A connection that vanished silently is noticed in seconds, not after TCP's own time-out of 15 minutes.
            # Longer than the second for which the consumer blocks in BRPOP.
            "socket_timeout": 10,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
            # Messages that a killed main had taken and not begun come back sooner than every 100 s.
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

# The ledger has the result of a task. A Redis result backend that is away blocks its clients for 20 s.
task_ignore_result = True

# The doorbell is single attempt: acknowledged when it is taken, never retried, never re-sent. With a late acknowledgement
# a task longer than the visibility time-out runs twice, and a task that kills its worker runs again and again.
task_acks_late = False
task_reject_on_worker_lost = False

# No message waits in a worker behind a running saga. With prefetch, messages behind a long task would wait while other
# workers are idle, and would be delivered twice after the visibility time-out.
worker_disable_prefetch = True
worker_prefetch_multiplier = 1

# Losing the broker's connection says nothing about the step that is running. (Celery 6 will say the opposite.)
worker_cancel_long_running_tasks_on_connection_loss = False

# A misspelt queue name is an error, not a new queue that nobody consumes.
task_create_missing_queues = False

# Exchange and routing key are both named: a second queue without them takes those of the first. Clients without our
# routes send to `celery`.
task_queues = [direct_queue(name) for name in ("celery", _settings.queue, _settings.control_queue)]

# Flower needs events.
worker_send_task_events = True
task_send_sent_event = True

# Beat answers a ping, so it can be watched.
beat_enable_remote_control = True
# All our entries are intervals: beat has nothing to remember between two runs, so it needs no file.
beat_scheduler = "celery.beat:Scheduler"
