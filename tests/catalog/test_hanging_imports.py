"""A step module whose import hangs: its saga waits with the reason, and nobody else's waits for it."""

import sys
import threading
import time

import pytest

from sagaworker import Engine, UnknownStep
from sagaworker.catalog.registry import Registry
from sagaworker.settings import Settings
from tests.showing import timeline

HANGS = """
import pathlib, threading
with pathlib.Path(__file__).with_suffix(".tries").open("a") as tries:
    tries.write("try\\n")
threading.Event().wait()
"""
WORKS = """
import pathlib
with pathlib.Path(__file__).with_suffix(".tries").open("a") as tries:
    tries.write("try\\n")
def execute(state):
    return state.put_output("done", True)
"""


@pytest.fixture
def settings(database_url, tmp_path, monkeypatch):
    package = f"shop_{time.monotonic_ns()}"
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").write_text("")
    (tmp_path / package / "hangs.py").write_text(HANGS)
    (tmp_path / package / "works.py").write_text(WORKS)
    monkeypatch.syspath_prepend(tmp_path)
    return Settings.from_env({}, database_url=database_url, step_packages=(package,), step_timeout=3)


def in_a_thread(work):
    answers = []

    def run():
        try:
            answers.append(work())
        except Exception as exc:
            answers.append(exc)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    return answers[0]


@pytest.mark.parametrize("where", ["the main thread", "a thread"])
def test_an_import_that_hangs_is_refused_with_its_reason_and_not_tried_again_at_once(settings, where, tmp_path):
    registry = Registry(settings)
    name = f"{settings.step_packages[0]}.hangs"

    def ask():
        with pytest.raises(UnknownStep, match="an import that does not end within 3 s"):
            registry.step(name)
        return True

    assert ask() if where == "the main thread" else in_a_thread(ask) is True
    for _ in range(5):
        ask()
    (tries,) = tmp_path.glob("*/hangs.tries")
    assert tries.read_text() == "try\n"


def test_its_saga_waits_with_the_reason_and_others_go_on(settings):
    package = settings.step_packages[0]
    with Engine(settings.replace(step_packages=f"{package},tests.episodes")) as engine:
        run = engine.start("stuck", ["tests.episodes.steps:Works"])
        with engine.database.checkout() as connection:
            connection.execute(
                "UPDATE saga_runs SET step_modules = jsonb_build_array(%s::text) WHERE id = %s",
                [f"{package}.hangs", run.id],
            )
        assert engine.run(run.id).status == "pending"
        journal = engine.timeline(run.id).journal
        assert "does not end" in str(journal[-1].data), timeline(engine, run.id)
        other = engine.start("other", [f"{package}.works"])
        assert engine.run(other.id).status == "completed"
        with pytest.raises(UnknownStep, match="does not end"):
            engine.start("stuck", [f"{package}.hangs"])


def test_recover_sweeps_although_a_module_hangs(settings):
    with Engine(settings) as engine:
        found = engine.recover()
    assert any("does not end" in problem for problem in found.problems), found
    assert f"{settings.step_packages[0]}.hangs" not in sys.modules


def test_a_module_that_is_there_is_not_imported_anew(settings, tmp_path):
    name = f"{settings.step_packages[0]}.works"
    for registry in (Registry(settings), Registry(settings)):
        assert registry.step(name) is registry.step(name)
    (tries,) = tmp_path.glob("*/works.tries")
    assert tries.read_text() == "try\n"
