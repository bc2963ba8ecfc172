"""A monitor of task events, and workers that send them rarely or slowly."""

from __future__ import annotations

import threading
from contextlib import contextmanager

from kombu import Connection

from tests.waiting import PATIENCE, wait_until

RARELY, SLOWLY = "tests.celery.rarely_telling", "tests.celery.slowly_telling"
EXECUTING = "task-executing"
WHOLE = ["task-received", "task-started", "task-succeeded"]


class Heard:
    """What a monitor has heard so far, in its order."""

    def __init__(self, stage):
        self._client = stage.client
        self._events = []

    def of(self, kind):
        """The types of the events of the doorbells of these sagas; what says its place says it by `name`."""
        ids = {one["uuid"] for one in self._events if str(one.get("name", "")).startswith(f"{kind}[")}
        return [one["type"] for one in list(self._events) if one.get("uuid") in ids]

    @contextmanager
    def listening(self, url):
        with Connection(url) as connection:
            receiver = self._client.events.Receiver(connection, handlers={"*": self._events.append})
            thread = threading.Thread(target=receiver.capture, kwargs={"wakeup": False})
            thread.start()
            try:
                wait_until(self._is_heard, what="the monitor to hear")
                yield self
            finally:
                receiver.should_stop = True
                thread.join(timeout=PATIENCE)

    def _is_heard(self):
        with self._client.events.default_dispatcher() as dispatcher:
            dispatcher.send("probe-sent")
        return any(one["type"] == "probe-sent" for one in self._events)


def until(heard, kind, wanted):
    """Places that are told of count only where they are wanted: most sagas are over before theirs is."""

    def told():
        return [one for one in heard.of(kind) if one in wanted or one != EXECUTING]

    wait_until(lambda: len(told()) >= len(wanted), what=f"{len(wanted)} events of {kind}")
    assert told() == wanted
