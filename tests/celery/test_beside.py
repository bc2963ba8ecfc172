"""A project of one's own, started as the README says: `celery -A app worker` in its folder, with its steps beside it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.celery.nodes import ProcessContainer
from tests.waiting import wait_until

APP = """
from celery import Celery
from sagaworker.celery import install

app = Celery("mine")
sagas = install(app)
"""
STEP = """
def execute(state):
    return state.put_output("mailed", True)
"""


class Beside(ProcessContainer):
    """The console script, which unlike `python -m` does not have the folder on the path."""

    kind = "beside"
    ready_prompt = " ready."


@pytest.mark.parametrize("app", ["app", "sagaworker.celery_app"])
def test_steps_beside_the_worker_are_found(stage, tmp_path, monkeypatch, app):
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "mail.py").write_text(STEP)
    env = stage.env | {"SAGAWORKER_STEP_PACKAGES": "shop", "CELERY_BROKER_URL": stage.broker_url, "PYTHONPATH": ""}
    celery = [str(Path(sys.executable).parent / "celery"), "-A", app, "worker", "-c", "1", "-l", "INFO"]
    worker = Beside(stage.folder, ["env", f"--chdir={tmp_path}", *celery], env)
    stage.run(worker)
    stage.send("sagaworker.start_saga", "mails", ["shop.mail"], key=app)
    run = wait_until(lambda: stage.engine.list(kind="mails", key=app), what="a saga that was started")[0]
    assert stage.finished(run.id).context == {"mailed": True}
    worker.teardown()
