"""What the server refuses to record is a failed attempt like any other: no step runs again that RETRY does not allow."""

import psycopg
import pytest

from sagaworker.episodes import ChildPlace
from tests.episodes import steps
from tests.showing import timeline

S = "tests.episodes.steps:"
CODES = {
    "a character that the encoding lacks": "untranslatable_character",
    "a value out of range": "numeric_value_out_of_range",
    "too much of something": "program_limit_exceeded",
    "a rule of somebody's": "check_violation",
    "a privilege that was taken": "insufficient_privilege",
}


@pytest.fixture
def refuse(engine):
    """Let the server refuse a row of the ledger that fulfils a condition, with an error code."""

    def refuse(condition, code="untranslatable_character"):
        with psycopg.connect(engine.settings.database_url, autocommit=True) as connection:
            connection.execute(
                "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
                f" IF {condition} THEN RAISE EXCEPTION 'refused' USING ERRCODE = '{code}'; END IF; RETURN NEW; END $$"
            )
            connection.execute(
                "CREATE OR REPLACE TRIGGER refuse BEFORE UPDATE ON saga_step_results FOR EACH ROW"
                " EXECUTE FUNCTION refuse()"
            )

    return refuse


def walked(engine, *names):
    return engine.run(engine.start("t", [S + name for name in names]).id)


def entries():
    return [line.split()[0] for line in steps.EFFECTS]


@pytest.mark.parametrize("code", CODES.values(), ids=CODES)
@pytest.mark.parametrize("names", [["Works"], ["Works", "Works"], ["Works", "Works", "Works"]])
def test_an_output_that_is_refused_is_one_failed_attempt_and_is_undone(engine, refuse, names, code):
    refuse("NEW.status = 'completed' AND NEW.step_idx = 0", code)
    run = walked(engine, *names)
    row = engine.list_step_results(run.id)[0]
    assert (run.status, row.status, row.attempts, row.in_doubt) == ("rolled_back", "compensated", 1, 1), timeline(
        engine, run.id
    )
    assert run.recoveries == 0
    assert entries() == ["execute", "undo"]
    assert "refused" in str(row.error)
    assert engine.audit() == []


def test_retry_tries_a_refused_record_again_as_often_as_it_says(engine, refuse):
    refuse("NEW.status = 'completed' AND NEW.step_idx = 0")
    run = walked(engine, "RaisesThenWorks")
    assert run.status == "rolled_back"
    assert engine.list_step_results(run.id)[0].attempts == steps.RaisesThenWorks.RETRY.max_attempts


def test_an_error_that_is_refused_is_recorded_as_a_plain_one(engine, refuse):
    refuse("NEW.error IS NOT NULL AND NEW.error ->> 'kind' <> 'Unrecordable'")
    run = walked(engine, "Works", "Raises")
    assert run.status == "rolled_back", timeline(engine, run.id)
    assert engine.list_step_results(run.id)[1].error["kind"] == "Unrecordable"
    assert entries().count("execute") == 2
    assert engine.audit() == []


def test_an_undo_whose_error_is_refused_is_recorded_as_failed(engine, refuse):
    refuse("NEW.error IS NOT NULL AND NEW.status = 'compensation_failed' AND NEW.error ->> 'kind' <> 'Unrecordable'")
    run = walked(engine, "UndoFails", "Declines")
    assert run.status == "failed", timeline(engine, run.id)
    assert engine.audit() == []


def test_a_finished_step_is_recorded_where_the_next_one_cannot_be_watched(engine, monkeypatch):
    from sagaworker.episodes import episode

    armed = []

    def arm(place, step, grace):
        armed.append(step)
        if len(armed) == 1:
            raise RuntimeError("can't start new thread")

    monkeypatch.setattr(episode, "arm", arm)
    run = engine.start("t", [S + "Works"] * 2)
    engine.run_episode(run.id, place=ChildPlace())
    assert [row.status for row in engine.list_step_results(run.id)] == ["completed", "pending"], timeline(
        engine, run.id
    )
    assert engine.timeline(run.id).episodes[-1].outcome == "yielded"
    assert engine.run(run.id).status == "completed"
    assert entries() == ["execute", "execute"]


def test_an_observer_that_raises_makes_no_step_run_again(engine):
    def raises(*_):
        raise RuntimeError("can't start new thread")

    run = engine.start("t", [S + "Works"] * 2)
    engine.run_episode(run.id, place=ChildPlace(), entered=raises)
    assert engine.get(run.id).status == "completed", timeline(engine, run.id)
    assert entries() == ["execute", "execute"]
