"""A commit whose acknowledgement is lost is found out, not guessed: neither repeated nor forgotten."""

import itertools

import pytest

from sagaworker.engine import Engine
from sagaworker.episodes import HostPlace
from sagaworker.settings import Settings
from tests.episodes import steps
from tests.holding import claimed
from tests.relay import Relay
from tests.showing import timeline

S = "tests.episodes.steps:"

# A list of steps and what must be on record and in the effects whatever is lost on the way.
WALKS = {
    "forward": ([S + "Works"] * 3, "completed", ["completed"] * 3, ["execute 0", "execute 1", "execute 2"]),
    "backward": (
        [S + "Works", S + "Works", S + "Declines"],
        "rolled_back",
        ["compensated", "compensated", "failed"],
        ["execute 0", "execute 1", "undo 1 completed last=1", "undo 0 completed last=0"],
    ),
    "retried": ([S + "RaisesThenWorks"], "completed", ["completed"], ["execute 0"]),
    "doubted": ([S + "Raises"], "rolled_back", ["compensated"], ["execute 0", "undo 0 unknown last=None"]),
    "undo fails": (
        [S + "UndoFails", S + "Declines"],
        "failed",
        ["compensation_failed", "failed"],
        ["execute 0", "undo 0 completed last=0", "undo 0 completed last=0"],
    ),
}


@pytest.fixture
def relay(database_url):
    relay = Relay(database_url)
    yield relay
    relay.close()


@pytest.fixture
def engine(relay):
    settings = Settings.from_env({}, database_url=relay.url, step_packages=("steps", "tests.episodes"))
    with Engine(settings) as engine:
        yield engine


@pytest.mark.parametrize("what", ["question", "answer"])
@pytest.mark.parametrize("walk", WALKS)
def test_whatever_is_lost_on_the_line_the_walk_ends_as_if_nothing_was(engine, relay, walk, what):
    names, status, rows, effects = WALKS[walk]
    lost_at = 0
    while True:
        steps.EFFECTS.clear()
        run = engine.start("t", names)
        relay.lose(what, lost_at)
        end = engine.run_episode(run.id, place=HostPlace())
        was_cut = relay.has_cut
        relay.lose("", 0)
        shown = f"lost the {what} number {lost_at}\n" + timeline(engine, run.id)
        assert end.outcome == status, shown
        assert rows == [str(row.status) for row in engine.list_step_results(run.id)], shown
        assert effects == steps.EFFECTS, shown
        assert len(engine.timeline(run.id).episodes) == 1, shown
        if not was_cut:
            break
        lost_at += 1
    assert lost_at >= 4, "the sweep must have cut the line at several places"
    assert engine.audit() == []


@pytest.mark.parametrize("what", ["question", "answer"])
def test_a_polite_stop_survives_a_lost_line(engine, relay, what):
    for lost_at in range(8):
        run = engine.start("t", [S + "Works"] * 2)
        stops = itertools.chain([False, False], itertools.repeat(True))
        relay.lose(what, lost_at)
        engine.run_episode(run.id, place=HostPlace(), should_stop=stops.__next__)
        relay.lose("", 0)
        assert engine.run(run.id).status == "completed", timeline(engine, run.id)
        assert [row.attempts for row in engine.list_step_results(run.id)] == [1, 1]
    assert engine.audit() == []


@pytest.mark.parametrize("what", ["question", "answer"])
@pytest.mark.parametrize("lost_at", range(4))
def test_a_start_and_a_cancel_happen_once_whatever_is_lost(engine, relay, what, lost_at):
    engine.start("warm", ["steps.echo"])
    relay.lose(what, lost_at)
    run = engine.start("t", ["steps.echo"])
    relay.lose("", 0)
    assert [r.id for r in engine.list(kind="t")] == [run.id]
    relay.lose(what, lost_at)
    assert engine.cancel(run.id) == "cancelled"
    relay.lose("", 0)
    assert engine.get(run.id).status == "rolled_back"
    assert len(engine.timeline(run.id).journal) == 2
    assert engine.audit() == []


@pytest.mark.parametrize("what", ["question", "answer"])
@pytest.mark.parametrize("lost_at", range(5))
def test_a_cancel_of_a_running_step_is_on_record_once_whatever_is_lost(engine, relay, what, lost_at):
    run = engine.start("t", ["steps.echo"])
    hold = claimed(engine, run.id)
    for _ in range(2):
        relay.lose(what, lost_at)
        assert engine.cancel(run.id, "not wanted", who="ann") == "requested"
        relay.lose("", 0)
    asked = [entry for entry in engine.timeline(run.id).journal if entry.type == "saga.cancel_requested"]
    assert len(asked) == 2
    hold.yield_()
    hold.close()
    assert engine.run(run.id).status == "rolled_back"
    assert engine.audit() == []


@pytest.mark.parametrize("what", ["question", "answer"])
def test_a_batch_is_stored_once_whatever_is_lost(engine, relay, what):
    engine.start("warm", ["steps.echo"])
    lost_at = 0
    while True:
        relay.lose(what, lost_at)
        runs = engine.start_many([{"kind": f"batch {lost_at}", "steps": ["steps.echo"]}] * 3)
        was_cut = relay.has_cut
        relay.lose("", 0)
        assert [run.id for run in runs] == [run.id for run in engine.list(kind=f"batch {lost_at}", order="asc")]
        if not was_cut:
            break
        lost_at += 1
    assert lost_at >= 3, "the line must have been cut at the begin, the move and the commit"
    assert engine.audit() == []
