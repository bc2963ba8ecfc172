"""What docs/changing-steps.md says is frozen in a run, and what is read anew: each row is done here, on a real ledger."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from sagaworker import Engine, InvalidInput, KeyConflict
from tests.docs.pages import ROOT, blocks, rows
from tests.holding import claimed, expire
from tests.showing import timeline

PAGE = ROOT / "docs" / "changing-steps.md"

NOTE = """
from pathlib import Path

def execute(state):
    {execute}
    return state.put_output("{output}", "{version}")

def compensate(state):
    with Path("undone").open("a") as file:
        file.write("{version} " + state.idempotency_key.partition(":")[2] + chr(10))
"""
DEFINED = """
from sagaworker import Definition

DEFINITIONS = [Definition("order", {steps}{options})]
"""
INTERRUPTED = "raise KeyboardInterrupt"
FAILS = "raise ConnectionError('away')"
DECLINES = "from sagaworker import StepFailed; raise StepFailed('no')"


def note(version: str, *, execute: str = "pass", output: str = "noted", members: str = "") -> str:
    return NOTE.format(version=version, execute=execute, output=output) + members


class Shop:
    """A package of steps that is deployed again and again; each time by a process that imports it anew, as it seems."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self.folder = folder
        self.database_url = database_url
        self.engines: list[Engine] = []

    def deploy(self, *, without: str = "", settings: dict[str, object] | None = None, **modules: str) -> Engine:
        (self.folder / "shop").mkdir(exist_ok=True)
        for name, text in modules.items():
            (self.folder / "shop" / f"{name}.py").write_text(text)
        if without:
            (self.folder / "shop" / f"{without}.py").unlink()
        self.forget()
        importlib.invalidate_caches()
        engine = Engine.from_env(
            database_url=self.database_url, step_packages="shop", step_grace=0.5, **(settings or {})
        )
        self.engines.append(engine)
        return engine

    def forget(self) -> None:
        for name in [name for name in sys.modules if name.partition(".")[0] == "shop"]:
            del sys.modules[name]

    @property
    def undone(self) -> list[str]:
        file = self.folder / "undone"
        return file.read_text().splitlines() if file.exists() else []


@pytest.fixture
def shop(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # two versions of a file within one second
    made = Shop(tmp_path, database_url)
    yield made
    assert made.engines[-1].audit() == []
    for engine in made.engines:
        engine.close()
    made.forget()


def interrupted(engine: Engine, *steps: object) -> str:
    """A saga whose worker dies in the last of these steps."""
    run = engine.start("t", [*steps])
    with pytest.raises(KeyboardInterrupt):
        engine.run(run.id)
    return run.id


def parked(engine: Engine, *steps: object) -> str:
    """A saga that waits for a retry of the last of these steps; it may be walked on at once."""
    run = engine.start("t", [*steps])
    assert engine.run(run.id).waiting_for == "retry"
    with psycopg.connect(engine.settings.database_url or "", autocommit=True) as connection:
        connection.execute("UPDATE saga_runs SET wake_at = now() WHERE id = %s", (run.id,))
    return run.id


RETRY = "\nfrom sagaworker import RetryPolicy\nRETRY = RetryPolicy(max_attempts={tries}, base=60.0)\n"
UNDO_RETRY = "\nfrom sagaworker import RetryPolicy\nCOMPENSATE_RETRY = RetryPolicy(max_attempts={tries}, base=60.0)\n"


def list_and_params(shop: Shop) -> None:
    old = DEFINED.format(steps='[{"step": "shop.one", "params": {"n": 1}}]', options="")
    run = shop.deploy(__init__=old, one=note("one"), two=note("two")).start("order")
    engine = shop.deploy(__init__=DEFINED.format(steps='["shop.two"]', options=""))
    engine.load_definitions()
    assert engine.run(run.id).context == {"noted": "one"}
    assert engine.get(run.id).step_modules == ({"step": "shop.one", "params": {"n": 1}},)
    assert engine.run(engine.start("order").id).context == {"noted": "two"}


def inputs(shop: Shop) -> None:
    engine = shop.deploy(one=note("one"))
    engine.start("t", ["shop.one"], key="k", inputs={"n": 1})
    with pytest.raises(KeyConflict):
        engine.start("t", ["shop.one"], key="k", inputs={"n": 2})


def list_under_a_key(shop: Shop) -> None:
    engine = shop.deploy(one=note("one"), two=note("two"))
    first = engine.start("t", ["shop.one"], key="k")
    second = engine.start("t", ["shop.two"], key="k")
    assert (second.id, second.step_modules) == (first.id, ("shop.one",))


def other_options(shop: Shop) -> None:
    options = ', max_recoveries=1, on_compensation_failure="halt", queue="slow", priority=3'
    first = DEFINED.format(steps='["shop.one"]', options=options)
    engine = shop.deploy(__init__=first, one=note("one"))
    by_definition, by_settings = engine.start("order"), engine.start("t", ["shop.one"])
    engine = shop.deploy(
        __init__=DEFINED.format(steps='["shop.one"]', options=", max_recoveries=7"), settings={"max_recoveries": 9}
    )
    engine.load_definitions()
    run = engine.get(by_definition.id)
    assert (run.max_recoveries, run.on_compensation_failure, run.queue, run.priority) == (1, "halt", "slow", 3)
    assert engine.get(by_settings.id).max_recoveries == 3


def outputs_of_completed(shop: Shop) -> None:
    saga_id = interrupted(
        shop.deploy(one=note("old", output="seat"), two=note("old", execute=INTERRUPTED)), "shop.one", "shop.two"
    )
    reads = 'assert state.get_output("seat_id", state.get_output("seat")) == "old"'
    engine = shop.deploy(one=note("new", output="seat_id"), two=note("new", execute=reads))
    assert engine.run(saga_id).context == {"seat": "old", "noted": "new"}


def idempotency_key(shop: Shop) -> None:
    shows = 'Path(f"key-{state.attempt}").write_text(state.idempotency_key)'
    saga_id = interrupted(shop.deploy(one=note("old", execute=f"{shows}; {INTERRUPTED}")), "shop.one")
    engine = shop.deploy(one=note("new", execute=shows, members='\nNAME = "other"\n'))
    assert engine.run(saga_id).status == "completed"
    assert [(shop.folder / f"key-{n}").read_text() for n in (1, 2)] == [f"{saga_id}:0"] * 2


def names(shop: Shop) -> None:
    run = shop.deploy(one=note("old", execute=INTERRUPTED)).start("t", ["shop.one", "shop.one"])
    with pytest.raises(KeyboardInterrupt):
        shop.engines[-1].run(run.id)
    engine = shop.deploy(one=note("new", members='\nNAME = "other"\n'))
    assert engine.run(run.id).status == "completed"
    assert [row.step_name for row in engine.list_step_results(run.id)] == ["one", "other"]


def code(shop: Shop) -> None:
    engine = shop.deploy(one=note("old"), two=note("old", execute=INTERRUPTED))
    saga_id = interrupted(engine, "shop.one", "shop.two", "shop.one")
    engine = shop.deploy(one=note("new", execute=DECLINES), two=note("new"))
    assert engine.run(saga_id).status == "rolled_back", timeline(engine, saga_id)
    assert shop.undone == ["new 1:undo", "new 0:undo"]


def retries(shop: Shop) -> None:
    saga_id = parked(shop.deploy(one=note("old", execute=FAILS, members=RETRY.format(tries=9))), "shop.one")
    engine = shop.deploy(one=note("new", execute=FAILS, members=RETRY.format(tries=2)))
    assert engine.run(saga_id).status == "rolled_back"
    assert engine.list_step_results(saga_id)[0].attempts == 2
    fails = "\ndef compensate(state):\n    raise ConnectionError\n"
    engine = shop.deploy(one=note("old", members=fails + UNDO_RETRY.format(tries=9)), two=note("", execute=DECLINES))
    saga_id = parked(engine, "shop.one", "shop.two")
    engine = shop.deploy(one=note("new", members=fails + UNDO_RETRY.format(tries=2)))
    assert engine.run(saga_id).error["not_undone"] == [{"idx": 0, "name": "one"}]


def in_doubt(shop: Shop) -> None:
    saga_id = interrupted(shop.deploy(one=note("old", execute=INTERRUPTED)), "shop.one")
    engine = shop.deploy(one=note("new", members='\nIN_DOUBT = "compensate"\n'))
    assert engine.run(saga_id).status == "rolled_back"
    assert shop.undone == ["new 0:undo"]


def compensate_when(shop: Shop) -> None:
    saga_id = interrupted(shop.deploy(one=note("old", execute=INTERRUPTED)), "shop.one")
    engine = shop.deploy(one=note("new", members='\nIN_DOUBT = "compensate"\nCOMPENSATE_WHEN = "completed"\n'))
    assert engine.run(saga_id).status == "rolled_back"
    assert engine.list_step_results(saga_id)[0].status == "skipped"
    assert shop.undone == []


def compensate_taken_away(shop: Shop) -> None:
    engine = shop.deploy(one=note("old"), two=note("old", execute=INTERRUPTED))
    saga_id = interrupted(engine, "shop.one", "shop.two")
    engine = shop.deploy(one=note("new", members="\ndel compensate\n"), two=note("new", execute=DECLINES))
    assert engine.run(saga_id).status == "rolled_back"
    assert engine.list_step_results(saga_id)[0].status == "compensated"
    assert shop.undone == ["new 1:undo"]


def timeout(shop: Shop) -> None:
    saga_id = parked(shop.deploy(one=note("old", execute=FAILS, members=RETRY.format(tries=2))), "shop.one")
    left = "from datetime import datetime, UTC; left = (state.deadline - datetime.now(UTC)).total_seconds()"
    engine = shop.deploy(one=note("new", execute=f"{left}; assert left < 250, left", members="\nTIMEOUT = 200\n"))
    assert engine.run(saga_id).status == "completed", timeline(engine, saga_id)


def policy_of_definition(shop: Shop) -> None:
    before = DEFINED.format(steps='["shop.one"]', options=', recovery_policy="restart"')
    engine = shop.deploy(__init__=before, one=note("old"))
    run = engine.start("order", recovery_policy="restart")
    hold = claimed(engine, run.id)
    hold.close()
    expire(engine, run.id)
    engine = shop.deploy(__init__=DEFINED.format(steps='["shop.one"]', options=', recovery_policy="fail"'))
    engine.load_definitions()
    assert engine.sweep().failed == 1
    assert engine.get(run.id).error_class == "orphaned"


def size_limits(shop: Shop) -> None:
    saga_id = interrupted(shop.deploy(one=note("old", execute=INTERRUPTED)), "shop.one")
    engine = shop.deploy(one=note("new" * 500), settings={"max_output_bytes": 1024})
    assert engine.run(saga_id).status == "rolled_back"
    assert engine.list_step_results(saga_id)[0].error["kind"] == "InvalidInput"


def inputs_type(shop: Shop) -> None:
    saga_id = interrupted(shop.deploy(one=note("old", execute=INTERRUPTED)), "shop.one")
    wants = "\nfrom dataclasses import dataclass\n\n@dataclass\nclass Inputs:\n    card: str\n"
    engine = shop.deploy(one=note("new", members=wants))
    with pytest.raises(InvalidInput):
        engine.start("t", ["shop.one"])
    assert engine.run(saga_id).status == "completed"


SHOWN: dict[str, Callable[[Shop], None]] = {
    "the step list and the params in it": list_and_params,
    "the inputs": inputs,
    "the list under a key": list_under_a_key,
    "`max_recoveries` and the other options": other_options,
    "the outputs of completed steps": outputs_of_completed,
    "the idempotency key": idempotency_key,
    "the name of a recorded step": names,
    "the code of `execute` and `compensate`": code,
    "`RETRY`, `COMPENSATE_RETRY`": retries,
    "`IN_DOUBT`": in_doubt,
    "`COMPENSATE_WHEN`": compensate_when,
    "`compensate` that is taken away": compensate_taken_away,
    "`NAME`": names,
    "`TIMEOUT`": timeout,
    "the recovery policy of a definition": policy_of_definition,
    "size limits of the settings": size_limits,
    "`Inputs`": inputs_type,
}


def test_every_row_of_the_page_is_done_here_and_no_other():
    assert [what for column in ("frozen", "read anew") for what, _ in rows(PAGE, column)] == list(SHOWN)


@pytest.mark.parametrize("show", SHOWN.values(), ids=SHOWN)
def test_a_running_saga_meets_the_change_as_the_page_says(shop: Shop, show: Callable[[Shop], None]) -> None:
    show(shop)


def test_a_module_that_a_completed_step_names_must_be_there_and_its_old_name_is_enough(shop: Shop) -> None:
    engine = shop.deploy(reserve=note("old"), two=note("old", execute=INTERRUPTED))
    saga_id = interrupted(engine, "shop.reserve", {"step": "shop.two", "id": "second"})
    (query,) = [block.text for block in blocks(PAGE) if block.language == "sql"]
    with psycopg.connect(shop.database_url) as connection:
        assert connection.execute(query).fetchall() == [("t", "running", 1)]
        assert connection.execute(query.replace("reserve", "two")).fetchall() == [("t", "running", 1)]
        assert connection.execute(query.replace("reserve", "ship")).fetchall() == []

    engine = shop.deploy(without="reserve", two=note("new"))
    assert engine.run(saga_id).status == "running"
    assert "no module 'shop.reserve'" in engine.explain(saga_id).text

    (shop.folder / "shop" / "seats").mkdir()
    (shop.folder / "shop" / "seats" / "reserve.py").write_text(note("moved"))
    engine = shop.deploy(reserve=alias(), two=note("new", execute=DECLINES))
    engine.retry(saga_id, reason="the module is back", who="ann")
    assert engine.run(saga_id).status == "rolled_back"
    assert shop.undone == ["new 1:undo", "moved 0:undo"]


def alias() -> str:
    """What the page says to leave under the old name."""
    (found,) = [block for block in blocks(PAGE) if block.path == "shop/reserve.py"]
    return found.text
