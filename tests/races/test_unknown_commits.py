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


def losses(relay, what, *, least):
    """Lose the first question or answer, the second and so on, until there is none to be lost; at least so many."""
    for lost_at in itertools.count():
        relay.lose(what, lost_at)
        yield f"lost the {what} number {lost_at}"
        was_cut = relay.has_cut
        relay.lose("", 0)
        if not was_cut:
            assert lost_at >= least, "the line must have been cut at each statement"
            return


@pytest.mark.parametrize("what", ["question", "answer"])
def test_a_polite_stop_survives_a_lost_line(engine, relay, what):
    runs = {}
    for shown in losses(relay, what, least=4):
        stops = itertools.chain([False, False], itertools.repeat(True))
        runs[shown] = engine.start("t", [S + "Works"] * 2)
        engine.run_episode(runs[shown].id, place=HostPlace(), should_stop=stops.__next__)
    for shown, run in runs.items():
        assert engine.run(run.id).status == "completed", shown + timeline(engine, run.id)
        assert [row.attempts for row in engine.list_step_results(run.id)] == [1, 1], shown
    assert engine.audit() == []


@pytest.mark.parametrize("what", ["question", "answer"])
def test_a_start_and_a_cancel_happen_once_whatever_is_lost(engine, relay, what):
    engine.start("warm", ["steps.echo"])
    runs = {shown: engine.start(shown, ["steps.echo"]) for shown in losses(relay, what, least=1)}
    for shown, run in runs.items():
        assert [found.id for found in engine.list(kind=shown)] == [run.id], shown
    waiting = engine.start_many([{"kind": "t", "steps": ["steps.echo"]}] * 20)
    answers = {waiting[n].id: engine.cancel(waiting[n].id) for n, _ in enumerate(losses(relay, what, least=3))}
    for saga_id, answer in answers.items():
        assert answer == "cancelled"
        assert engine.get(saga_id).status == "rolled_back"
        assert len(engine.timeline(saga_id).journal) == 2
    assert engine.audit() == []


@pytest.mark.parametrize("what", ["question", "answer"])
def test_a_cancel_of_a_running_step_is_on_record_once_whatever_is_lost(engine, relay, what):
    run = engine.start("t", ["steps.echo"])
    hold = claimed(engine, run.id)
    asked = 0
    for shown in losses(relay, what, least=3):
        assert engine.cancel(run.id, "not wanted", who="ann") == "requested", shown
        asked += 1
    kept = [entry for entry in engine.timeline(run.id).journal if entry.type == "saga.cancel_requested"]
    assert len(kept) == asked
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
