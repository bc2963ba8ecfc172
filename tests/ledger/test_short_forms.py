"""The short forms of start, claim, advance and complete record what the long forms do, and nothing where something came in between."""

from __future__ import annotations

import json
from dataclasses import replace

import psycopg
import pytest

from sagaworker.domain.status import RunStatus
from sagaworker.engine import Engine
from sagaworker.episodes import ThreadPlace
from sagaworker.failpoints import Failpoints, parsed
from sagaworker.ledger.episodes import Claimer
from sagaworker.ledger.line import Line
from sagaworker.settings import Settings
from tests.holding import TIMEOUT, advance, claimed
from tests.showing import timeline

STEPS = ["steps.echo"] * 2
IN_BETWEEN = {
    "cancel": "UPDATE saga_runs SET cancel_requested = true WHERE id = %s",
    "deadline": "UPDATE saga_runs SET deadline_at = clock_timestamp() WHERE id = %s",
    "hold": "UPDATE saga_runs SET waiting_for = 'hold' WHERE id = %s",
}
RECORDED = (
    "SELECT to_jsonb(r) FROM saga_runs AS r WHERE id = %s",
    "SELECT jsonb_agg(to_jsonb(l) ORDER BY step_idx) FROM saga_step_results AS l WHERE saga_id = %s",
    "SELECT jsonb_agg(to_jsonb(e) ORDER BY fence) FROM saga_episodes AS e WHERE saga_id = %s",
    "SELECT jsonb_agg(to_jsonb(j) ORDER BY seq) FROM saga_events AS j WHERE saga_id = %s",
)
OF_EACH = ("id", "saga_id")


@pytest.fixture
def engine(database_url):
    with Engine(Settings.from_env({}, database_url=database_url, step_packages="steps", lease=600)) as engine:
        yield engine


@pytest.fixture
def sent(monkeypatch):
    """The statement files that lines have sent."""
    names = []
    one = Line.one

    def noted(line, name, parameters, *more):
        names.append(name)
        return one(line, name, parameters, *more)

    monkeypatch.setattr(Line, "one", noted)
    return names


def recorded(engine, saga_id):
    """All that is on record of a saga: ids left out, and of instants only whether they are there."""

    def plain(value):
        match value:
            case dict():
                return {
                    name: (item is not None if name.endswith(("_at", "_until", "_cap")) else plain(item))
                    for name, item in value.items()
                    if name not in OF_EACH
                }
            case list():
                return [plain(item) for item in value]
            case _:
                return value

    with psycopg.connect(engine.settings.database_url) as connection:
        return [plain(connection.execute(statement, (saga_id,)).fetchone()[0]) for statement in RECORDED]


def walked(engine):
    """A saga of two steps, a move at a time; what was on record after each, and what the holder was told."""
    run = engine.start("t", STEPS)
    hold = claimed(engine, run.id)
    seen = []
    for last in (False, True):
        position = advance(hold, json.dumps({"number": 1, "last": last}), last=last)
        deadline_at = position.row.deadline_at is not None
        seen.append((recorded(engine, run.id), position.status, position.idx, position.row.status, deadline_at))
    hold.close()
    return seen


def test_a_short_form_leaves_what_the_long_form_leaves(engine, sent, monkeypatch):
    short = walked(engine)
    assert {"advance_plain", "complete_plain"} <= set(sent)
    assert not {"advance", "complete"} & set(sent)
    one = Line.one
    monkeypatch.setattr(
        Line, "one", lambda line, name, *more: None if name.endswith("_plain") else one(line, name, *more)
    )
    long = walked(engine)
    assert {"advance", "complete"} <= set(sent)
    assert short == long


@pytest.mark.parametrize("came", IN_BETWEEN)
@pytest.mark.parametrize("form", ["advance", "complete"])
def test_a_short_form_changes_nothing_where_something_came_in_between(engine, sent, form, came):
    run = engine.start("t", STEPS)
    hold = claimed(engine, run.id)
    with psycopg.connect(engine.settings.database_url, autocommit=True) as connection:
        connection.execute(IN_BETWEEN[came], (run.id,))
    position = advance(hold, last=form == "complete")
    hold.close()
    expected = [f"{form}_plain"] if (form, came) == ("complete", "hold") else [f"{form}_plain", form]
    assert [name for name in sent if name.startswith(form)] == expected
    if came == "hold":
        assert position.status is (RunStatus.COMPLETED if form == "complete" else RunStatus.RUNNING)
        assert (position.on_hold, position.row.begun_here) == (form == "advance", False)
    else:
        assert (position.status, position.idx) == (RunStatus.COMPENSATING, 0)
        assert [row.status for row in engine.list_step_results(run.id)] == ["compensating"]
    assert len([entry for entry in engine.timeline(run.id).journal if entry.type == "step.completed"]) == 1


def test_a_failpoint_after_advance_strikes_once_the_move_is_on_record_and_not_before(database_url, tmp_path):
    failpoints = Failpoints(parsed("advance.after=raise"), tmp_path)
    settings = Settings.from_env({}, database_url=database_url, step_packages="steps", lease=600)
    with Engine(settings, failpoints=failpoints) as engine:
        run = engine.start("t", STEPS)
        hold = claimed(engine, run.id)
        engine.cancel(run.id)
        statuses = []
        hold._line.on_lost = lambda: statuses.append(engine.get(run.id).status)
        advance(hold)
        hold.close()
        assert statuses == ["compensating"]


def test_the_run_that_a_start_returned_is_walked_without_a_read_before_its_claim(engine, sent):
    run = engine.start("t", STEPS, inputs={"amount": 1}, key="k", deadline=3600)
    sent.clear()
    ended = engine.run(run)
    assert sent == ["claim_first", "advance_plain", "complete_plain"]
    assert ended == engine.get(run.id)
    assert engine.audit() == []


def test_after_two_sagas_of_one_list_the_next_is_claimed_without_a_read_by_its_id_alone(engine, sent):
    for _ in range(2):
        engine.run(engine.start("t", STEPS).id)
    run = engine.start("t", STEPS, inputs={"amount": 1}, key="k", deadline=3600)
    sent.clear()
    ended = engine.run(run.id)
    assert sent == ["claim_first", "advance_plain", "complete_plain"]
    assert ended == engine.get(run.id)
    assert ended.inputs == {"amount": 1}
    assert engine.audit() == []


def test_a_saga_of_another_list_than_the_last_two_is_read_and_walked_by_its_own(engine, sent):
    for _ in range(2):
        engine.run(engine.start("t", STEPS))
    runs = [engine.start("t", ["steps.echo"]) for _ in range(2)]
    ways = []
    for run in runs:
        sent.clear()
        assert engine.run(run.id).status is RunStatus.COMPLETED
        assert [row.step_name for row in engine.list_step_results(run.id)] == ["echo"]
        ways.append([name for name in sent if name in ("claim_first", "load", "claim")])
    assert ways == [["claim_first", "load", "claim"], ["load", "claim"]]
    assert engine.audit() == []


def test_a_step_sees_the_numbers_of_its_own_list_where_an_equal_one_was_guessed(database_url):
    """PostgreSQL calls 1 and 1.0 equal, and Python, too; a step may tell them apart."""
    step = "tests.episodes.steps:UsesParams"
    settings = Settings.from_env({}, database_url=database_url, step_packages="tests.episodes", lease=600)
    with Engine(settings) as engine:
        seen = [
            engine.run(engine.start("t", [{"step": step, "params": {"n": n}}]).id).context["seen"]
            for n in (1, 1, 1.0, 1)
        ]
    assert json.dumps(seen) == '[{"n": 1}, {"n": 1}, {"n": 1.0}, {"n": 1}]'


def test_a_first_claim_leaves_what_a_claim_leaves(engine):
    run, other = (engine.start("t", STEPS) for _ in range(2))
    hold = claimed(engine, run.id)
    with Line(engine.database) as line:
        claimer = Claimer(owner=engine.owner)
        first = engine.ledger.claim_first(other, claimer, line, step_name="one", timeout=TIMEOUT)
        assert recorded(engine, other.id) == recorded(engine, run.id)
        assert replace(first[1].position, row=hold.position.row) == hold.position
        assert replace(first[1].position.row, deadline_at=None) == replace(hold.position.row, deadline_at=None)
        assert replace(first[0], context=None) == replace(engine.get(other.id), context=None)
    hold.close()


@pytest.mark.parametrize(
    "change",
    [
        {"step_modules": ("steps.echo",)},
        {"step_modules": ("steps.none",)},
        {"inputs": {"amount": 2}},
        {"mode": "other"},
    ],
    ids=str,
)
def test_a_run_that_its_holder_changed_is_walked_as_the_ledger_has_it(engine, change):
    run = engine.start("t", STEPS, inputs={"amount": 1})
    ended = engine.run(replace(run, **change))
    assert (ended.inputs, ended.mode, len(ended.step_modules)) == ({"amount": 1}, "live", 2)
    assert [row.status for row in engine.list_step_results(run.id)] == ["completed"] * 2, timeline(engine, run.id)


def test_a_run_that_is_another_saga_tells_nothing(engine):
    run, other = (engine.start("t", STEPS) for _ in range(2))
    assert engine.run_episode(run.id, place=ThreadPlace(), told=other).saga_id == run.id
    assert [engine.get(saga.id).status for saga in (run, other)] == ["completed", "pending"]


@pytest.mark.parametrize("came", [*IN_BETWEEN, "a claim"])
def test_a_first_claim_changes_nothing_where_something_came_since_the_start(engine, came):
    run = engine.start("t", STEPS)
    if came == "a claim":
        claimed(engine, run.id).close()
    else:
        with psycopg.connect(engine.settings.database_url, autocommit=True) as connection:
            connection.execute(IN_BETWEEN[came], (run.id,))
    before = recorded(engine, run.id)
    with Line(engine.database) as line:
        claimer = Claimer(owner=engine.owner)
        assert engine.ledger.claim_first(run, claimer, line, step_name="one", timeout=TIMEOUT) is None
    assert recorded(engine, run.id) == before
    told, read = engine.run(run).status, engine.get(run.id).status
    assert told == read
    assert read == {"cancel": "rolled_back", "deadline": "rolled_back", "hold": "pending", "a claim": "running"}[came]


def test_a_saga_whose_steps_are_not_loaded_here_is_read_first(engine, sent):
    with Engine(engine.settings) as other:
        assert other.run(engine.start("t", STEPS)).status is RunStatus.COMPLETED
    assert sent[:2] == ["load", "claim"]


@pytest.mark.parametrize("action", ["raise", "drop"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_first_claim_whose_answer_is_lost_is_looked_up_and_made_once(database_url, tmp_path, when, action):
    failpoints = Failpoints(parsed(f"claim.{when}@0={action}"), tmp_path)
    settings = Settings.from_env({}, database_url=database_url, step_packages="steps", lease=600)
    with Engine(settings) as engine, Engine(settings, failpoints=failpoints) as hurt:
        run = hurt.start("t", STEPS)
        assert hurt.run(run).status is RunStatus.COMPLETED, timeline(engine, run.id)
        assert len(list(tmp_path.iterdir())) == 1
        episodes = engine.timeline(run.id).episodes
        assert [(episode.fence, episode.outcome) for episode in episodes] == [(1, "completed")], timeline(
            engine, run.id
        )
        assert [row.attempts for row in engine.list_step_results(run.id)] == [1, 1]
        assert engine.audit() == []


def test_a_start_of_one_leaves_what_a_start_of_several_leaves(engine):
    definition = {
        "kind": "ä",
        "steps": ["steps.echo", {"step": "steps.echo", "id": "b", "params": {"a": "ä"}}],
        "inputs": {"text": "ä\n", "number": 2**70, "list": [None, True]},
        "key": "k",
        "attributes": {"a": 1},
        "priority": 3,
        "queue": "q",
        "max_recoveries": 7,
        "deadline": 3600,
        "trigger_type": "t",
        "trigger_ref": {"a": "ä"},
        "conversation_id": "c",
        "actor_id": "a",
        "source_stack": "s",
        "source_env": "one",
        "recovery_policy": "compensate",
        "on_compensation_failure": "halt",
    }
    one = engine.start(**definition)
    several = engine.start_many([definition | {"key": key} for key in ("other", "third")])[0]
    assert json.dumps(recorded(engine, one.id)) == json.dumps(recorded(engine, several.id)).replace('"other"', '"k"')
    assert engine.start(**definition).id == one.id


@pytest.mark.parametrize("action", ["raise", "drop"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_start_of_one_whose_answer_is_lost_is_stored_once(database_url, tmp_path, when, action):
    failpoints = Failpoints(parsed(f"start.{when}={action}"), tmp_path)
    settings = Settings.from_env({}, database_url=database_url, step_packages="steps", lease=600)
    with Engine(settings, failpoints=failpoints) as engine:
        run = engine.start("t", STEPS)
        assert len(list(tmp_path.iterdir())) == 1
        assert [entry.type for entry in engine.timeline(run.id).journal] == ["saga.started"]
        assert engine.run(run).status is RunStatus.COMPLETED
