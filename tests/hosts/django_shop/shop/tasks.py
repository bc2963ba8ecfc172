"""Tasks of the shop itself, on the same worker: they keep the limits, retries and rates that the shop gave them."""

from celery import shared_task
from celery.exceptions import SoftTimeLimitExceeded

from tests.hosts.gates import gate


@shared_task
def tick():
    """Sent by beat."""


@shared_task(bind=True, autoretry_for=(ConnectionError,), retry_kwargs={"countdown": 0, "max_retries": 3})
def send_mail(self, refusals):
    if self.request.retries < refusals:
        raise ConnectionError("the mail server is away")
    return {"retries": self.request.retries, "queue": self.request.delivery_info["routing_key"]}


@shared_task
def hang(name):
    """Beyond the soft limit and the hard one."""
    while True:
        try:
            gate(name).passed()
        except SoftTimeLimitExceeded:
            (gate(name).folder / f"{name}.soft").touch()
