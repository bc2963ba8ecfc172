"""A step module whose import ends its process: it is on record, people are told, and it costs four processes, not one a ring."""

import os
import time

import pytest
from psycopg.rows import dict_row

from sagaworker import Engine
from sagaworker.episodes import ChildPlace
from sagaworker.settings import Settings

ENDS = """
import os, pathlib
with pathlib.Path(__file__).with_suffix(".ended").open("a") as ended:
    ended.write("one\\n")
os._exit(7)
"""
WORKS = "def execute(state):\n    return state.put_output('done', True)\n"


@pytest.fixture
def package(tmp_path, monkeypatch):
    name = f"shop_{time.monotonic_ns()}"
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("")
    (tmp_path / name / "ends.py").write_text(ENDS)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path / name


@pytest.fixture
def engine(database_url, package):
    settings = Settings.from_env({}, database_url=database_url, step_packages=(package.name,), sweep_interval=0.1)
    with Engine(settings, ring=lambda _bells: None) as engine:
        yield engine


@pytest.fixture
def run_id(engine, package):
    """A start does not import what the process has not read: the list is stored as it would be by a client elsewhere."""
    (package / "ends.py").rename(package / "later.txt")
    (package / "ends.py").write_text(WORKS)
    run = engine.start("t", [f"{package.name}.ends"])
    (package / "ends.py").unlink()
    (package / "later.txt").rename(package / "ends.py")
    return run.id


def in_a_child(engine, saga_id):
    """The exit status of a process that hears one doorbell."""
    pid = os.fork()
    if pid == 0:
        import sys

        sys.modules.pop(engine.settings.step_packages[0] + ".ends", None)
        engine.after_fork()
        engine.registry._steps.clear()
        end = engine.run_episode(saga_id, place=ChildPlace())
        os._exit({"unrunnable": 0, "completed": 3}.get(end.outcome, 2))  # 1 is how the hard end ends it
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def rung_in_vain(engine):
    with engine.database.checkout() as connection:
        connection.execute("UPDATE saga_runs SET wake_at = clock_timestamp() - interval '1 second'")
    assert engine.sweep().rung == 1


def notes(engine, saga_id):
    return [entry for entry in engine.timeline(saga_id).journal if entry.type == "saga.recovery_skipped"]


def test_an_import_that_ends_its_process_is_noted_and_costs_a_few_of_them(engine, run_id, package):
    statuses = [in_a_child(engine, run_id)]
    assert notes(engine, run_id) == [], "the first worker that reads a module writes nothing about it"
    for _ in range(7):
        rung_in_vain(engine)
        statuses.append(in_a_child(engine, run_id))
    assert statuses == [7] * 5 + [0] * 3
    assert len((package / "ends.ended").read_text().splitlines()) == 5
    (entry,) = notes(engine, run_id)
    assert entry.data["step"] == f"{package.name}.ends"
    assert "ended its process" in entry.data["reason"]
    told = engine.explain(run_id)
    assert told.needs_person
    assert "ended its process" in told.text
    assert engine.audit() == []


def test_an_import_that_is_under_way_needs_nobody(engine, run_id, package):
    in_a_child(engine, run_id)
    rung_in_vain(engine)
    in_a_child(engine, run_id)
    assert not engine.explain(run_id).needs_person
    assert engine.list(needs_person=True) == []
    with engine.database.checkout() as connection:  # an import that long has ended, or its process has
        connection.execute(
            "UPDATE saga_events SET data = data || jsonb_build_object('last_at', clock_timestamp() - interval '2 min')"
            " WHERE type = 'saga.recovery_skipped'"
        )
    assert engine.explain(run_id).needs_person
    assert [run.id for run in engine.list(needs_person=True)] == [run_id]


def test_with_the_module_mended_a_retry_lets_it_go_on(engine, run_id, package):
    for _ in range(8):
        in_a_child(engine, run_id)
        rung_in_vain(engine)
    (package / "ends.py").write_text(WORKS)
    engine.retry(run_id, reason="mended", who="ana")
    assert in_a_child(engine, run_id) == 3
    assert str(engine.get(run_id).status) == "completed"
    assert engine.audit() == []


def test_an_import_that_only_fails_counts_as_none_that_ended_a_process(engine, run_id, package):
    (package / "ends.py").write_text("import no_such_module_at_all\n")
    in_a_child(engine, run_id)
    for _ in range(8):
        rung_in_vain(engine)
        assert in_a_child(engine, run_id) == 0
    (package / "ends.py").write_text(WORKS)
    rung_in_vain(engine)
    assert in_a_child(engine, run_id) == 3


def test_a_hang_that_no_signal_ends_is_ended_with_its_process(engine, run_id, package):
    """The hard end needs no GIL: here the signal of the soft one is blocked, as C code that never returns would have it."""
    blocks = "import signal, threading\nsignal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])\n"
    (package / "ends.py").write_text(blocks + "threading.Event().wait()\n")
    brief = engine.settings.replace(step_timeout=0.1, step_grace=0.1)
    with Engine(brief, ring=lambda _bells: None) as other:
        assert in_a_child(other, run_id) == 1
    rows = wakes(engine)
    assert len(rows) == 1


def wakes(engine):
    with engine.database.checkout() as connection, connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute("SELECT wake_at FROM saga_runs WHERE wake_at IS NOT NULL").fetchall()
