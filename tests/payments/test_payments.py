"""A charge over HTTP whose worker is killed between the effect and its record, a hundred times in each way out."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from sagaworker.domain.status import RunStatus
from sagaworker.engine import Engine
from sagaworker.settings import Settings
from tests.payments.steps import VARIABLE
from tests.showing import timeline

ROOT = Path(__file__).parents[2]
KILLS = 100


@pytest.fixture
def journal(tmp_path, monkeypatch):
    """The service's journal; it runs meanwhile."""
    path = tmp_path / "charges.jsonl"
    command = [sys.executable, "-m", "tests.payments.server", str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        monkeypatch.setenv(VARIABLE, f"http://127.0.0.1:{int(server.stdout.readline())}")
        yield path
        server.kill()


@pytest.fixture
def engine(database_url):
    settings = Settings.from_env({}, database_url=database_url, step_packages=("tests.payments",))
    with Engine(settings) as engine:
        yield engine
        assert engine.audit() == []


@pytest.fixture
def killed(engine, journal, tmp_path):
    """Start a saga of that step and kill its worker at that point; the saga, taken over and free to go on."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.payments.killed"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as walker:

        def kill(step, point):
            run = engine.start("pay", [f"tests.payments.steps:{step}"], recovery_policy="restart")
            folder = tmp_path / run.id
            folder.mkdir()
            request = {"saga": run.id, "point": point, "folder": str(folder), "database": engine.settings.database_url}
            walker.stdin.write(json.dumps(request) + "\n")
            walker.stdin.flush()
            assert walker.stdout.readline() == "killed\n"
            assert engine.take_over_dead(engine.timeline(run.id).episodes[-1].owner) == 1
            return run.id

        yield kill
        walker.stdin.close()


def charged(journal):
    """How often each saga was charged."""
    return Counter(json.loads(line)["reference"] for line in journal.read_text().splitlines())


def completed(engine, saga_id):
    run = engine.run(saga_id)
    assert run.status is RunStatus.COMPLETED, timeline(engine, saga_id)
    return run


def test_with_a_key_a_hundred_kills_between_effect_and_record_charge_each_saga_once(engine, killed, journal):
    sagas = [killed("WithKey", "advance.before") for _ in range(KILLS)]
    for saga in sagas:
        completed(engine, saga)
        assert engine.list_step_results(saga)[0].attempts == 2
    assert charged(journal) == dict.fromkeys(sagas, 1)


def test_with_a_probe_and_no_key_each_saga_is_charged_once_too(engine, killed, journal):
    after = [killed("WithProbe", "advance.before") for _ in range(KILLS)]
    before = [killed("WithProbe", "execute.before") for _ in range(10)]
    for saga in after + before:
        run = completed(engine, saga)
        assert run.context["charge"].startswith("ch_")
        assert engine.list_step_results(saga)[0].attempts == (1 if saga in after else 2)
    assert charged(journal) == dict.fromkeys(after + before, 1)


def test_with_halt_every_doubt_waits_for_a_person_and_nothing_is_charged_again(engine, killed, journal):
    sagas = [killed("WithHalt", "advance.before") for _ in range(KILLS)]
    for saga in sagas:
        assert engine.run(saga).waiting_for == "operator", timeline(engine, saga)
    assert engine.sweep().rung == 0
    for number, saga in enumerate(sagas):
        engine.resolve(saga, happened=True, outputs={"charge": f"ch_{number}"}, reason="seen there", who="ann")
        assert engine.get(saga).status is RunStatus.COMPLETED
    assert charged(journal) == dict.fromkeys(sagas, 1)
