"""Users' code outside of steps that hangs: what asked for it goes on, with a sentence."""

import sys
import threading
import time

import pytest

from sagaworker import InvalidInput
from sagaworker.catalog.bounded import Hung, bounded
from sagaworker.domain.definition import Definition
from sagaworker.engine import Engine
from sagaworker.settings import Settings
from tests.recovery.abandoned import orphan

VALIDATES = """
import dataclasses, threading
@dataclasses.dataclass
class Inputs:
    hangs: bool = False
    def __post_init__(self):
        if self.hangs:
            threading.Event().wait()
def execute(state):
    return state.put_output("done", True)
"""
MADE = """
import threading
class Step:
    def __init__(self):
        threading.Event().wait()
    def execute(self, state):
        return state
"""


def in_a_thread(work):
    answers = []
    thread = threading.Thread(target=lambda: answers.append(work()))
    thread.start()
    thread.join(60)
    return answers[0]


def here(work):
    return work()


@pytest.fixture
def engine_of(database_url, tmp_path, monkeypatch):
    package = f"shop_{time.monotonic_ns()}"
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").write_text("")
    (tmp_path / package / "validates.py").write_text(VALIDATES)
    (tmp_path / package / "made.py").write_text(MADE)
    monkeypatch.syspath_prepend(tmp_path)
    settings = Settings.from_env({}, database_url=database_url, step_packages=(package,), step_timeout=1)
    with Engine(settings) as engine:
        yield engine, package
    sys.modules.pop(package, None)


@pytest.mark.parametrize("where", [here, in_a_thread])
def test_a_validation_that_hangs_refuses_its_start_and_no_other(engine_of, where):
    engine, package = engine_of

    def ask():
        with pytest.raises(InvalidInput, match="a validation that does not end within 1 s"):
            engine.start("t", [f"{package}.validates"], inputs={"hangs": True})
        return engine.start("t", [f"{package}.validates"]).kind

    assert where(ask) == "t"


@pytest.mark.parametrize("where", [here, in_a_thread])
def test_a_step_class_that_hangs_when_it_is_made_is_refused(engine_of, where):
    engine, package = engine_of

    def ask():
        with pytest.raises(InvalidInput, match="a call of the class that does not end within 1 s"):
            engine.start("t", [f"{package}.made:Step"])
        return True

    assert where(ask)


@pytest.mark.parametrize("where", [here, in_a_thread])
def test_a_policy_callback_that_hangs_is_asked_once_and_definitions_decide(engine, monkeypatch, where, caplog):
    monkeypatch.setattr("sagaworker.recovery.policies.RESOLVED_WITHIN", 0.3)
    for _ in range(3):
        orphan(engine, actor_id="billing")
    asked = []

    def hangs(run):
        asked.append(run.id)
        threading.Event().wait()

    registered = [Definition("t", ["steps.echo"], actor="billing", recovery_policy="restart")]
    swept = where(lambda: engine.sweep(resolve_policy=hangs, actor_registry=registered))
    assert swept.restarted == 3
    assert len(asked) == 1
    assert "a resolve_policy that does not end" in caplog.text


def test_what_is_called_aside_sees_the_callers_context_and_raises_what_it_raises():
    def fails():
        raise KeyError("x")

    for where in (here, in_a_thread):
        assert where(lambda: bounded(lambda: 7, 5, "a call")) == 7

        def ask():
            with pytest.raises(KeyError):
                bounded(fails, 5, "a call")
            with pytest.raises(Hung, match="a call that does not end within 0"):
                bounded(threading.Event().wait, 0.1, "a call")
            return True

        assert where(ask)
