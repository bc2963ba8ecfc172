from celery.exceptions import SoftTimeLimitExceeded

from store.worker import app
from tests.hosts.gates import gate


@app.task(bind=True, autoretry_for=(SoftTimeLimitExceeded,), retry_kwargs={"countdown": 0, "max_retries": 1})
def report(self, name):
    """Its first try is ended by the soft limit."""
    if self.request.retries == 0:
        gate(name).passed()
    return self.request.retries
