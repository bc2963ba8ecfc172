"""Lists of runs: those that need a person, and those since an instant."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import psycopg
import pytest

from sagaworker.engine import Engine
from sagaworker.errors import InvalidInput
from sagaworker.ledger.database import Database
from sagaworker.settings import Settings
from tests.ledger.varied import KINDS, Sagas

HOUR = timedelta(hours=1)


@pytest.fixture
def engine(database_url):
    with Engine(Settings.from_env({}, database_url=database_url)) as engine:
        yield engine


@pytest.fixture
def aged(engine):
    """Keys of three sagas that are as old as they say."""
    ages = {"now": timedelta(0), "hours": timedelta(hours=5), "days": timedelta(days=4)}
    with psycopg.connect(engine.settings.database_url, autocommit=True) as connection:
        for key, age in reversed(ages.items()):
            run = engine.start("t", ["steps.echo"], key=key)
            connection.execute("UPDATE saga_runs SET inserted_at = inserted_at - %s WHERE id = %s", (age, run.id))
    return list(ages)


def test_those_that_need_a_person_are_those_of_which_explain_says_so(engine, database_url):
    database = Database(database_url)
    sagas = Sagas(database)
    ids = {make(sagas): kind for kind, make in KINDS.items()}
    for name in ("on hold", "on hold in a step", "passed over", "passed over in a step", "passed over and claimed"):
        saga_id, hold = (sagas.start(), None) if name in ("on hold", "passed over") else sagas.begun()
        ids[saga_id] = name
        if name.startswith("on hold"):
            engine.hold(saga_id, reason="x", who="ann")
            continue
        if hold is not None:
            hold.yield_()
        assert engine.ledger.pass_over(saga_id, engine.get(saga_id).fence, "no module", step="shop.gone")
        if name.endswith("claimed"):
            sagas.claim(saga_id)
    said = {kind for saga_id, kind in ids.items() if engine.explain(saga_id).needs_person}
    assert {ids[run.id] for run in engine.list(needs_person=True, limit=1000)} == said
    assert {ids[run.id] for run in engine.list(needs_person=False, limit=1000)} == set(ids.values()) - said
    assert {"failed", "halted", "asking_an_operator", "on hold in a step", "passed over in a step"} <= said
    assert {"completed", "running", "waiting_for_a_retry", "passed over and claimed"} & said == set()
    passed_over = {ids[saga_id] for saga_id in engine.reads.passed_over(list(ids))}
    assert passed_over == {"passed over", "passed over in a step"}
    sagas.close()
    database.close()


@pytest.mark.parametrize(
    ("since", "keys"),
    [
        (None, ["now", "hours", "days"]),
        (HOUR, ["now"]),
        (3600, ["now"]),
        (3600.5, ["now"]),
        ("90s", ["now"]),
        ("15m", ["now"]),
        ("15 min", ["now"]),
        ("6h", ["now", "hours"]),
        ("3.5d", ["now", "hours"]),
        ("1w", ["now", "hours", "days"]),
        ("1999-12-31T23:59:59Z", ["now", "hours", "days"]),
        ("2999-12-31T23:59:59+02:00", []),
    ],
)
def test_since_is_how_long_ago_or_an_instant(engine, aged, since, keys):
    assert [run.key for run in engine.list(since=since)] == keys


def test_since_takes_the_instants_that_are_printed_and_any_zone(engine, aged):
    then = datetime.now(UTC) - timedelta(hours=6)
    for since in (then, then.isoformat(), f"{then:%Y-%m-%d %H:%M:%S} UTC", then.astimezone(timezone(5 * HOUR))):
        assert [run.key for run in engine.list(since=since)] == ["now", "hours"]
    assert [run.key for run in engine.list(since=then, order="asc", limit=1)] == ["hours"]


@pytest.mark.parametrize(
    "since",
    ["", "2", "2y", "-2h", "h", "yesterday", "2031-05-04T17:00:00", "2031-05-04", "99999999d", -1, float("nan"),
     float("inf"), True, datetime(2031, 5, 4, tzinfo=UTC).replace(tzinfo=None), -HOUR, timedelta(days=40_000), [1]],
)  # fmt: skip
def test_a_since_that_is_neither_is_refused_with_examples(engine, since):
    with pytest.raises(InvalidInput, match=r"since must be an instant with its offset or how long ago") as refused:
        engine.list(since=since)
    assert "2h, 3d" in str(refused.value)


def test_pages_after_one_another_have_each_run_once_whatever_is_started_meanwhile(engine):
    runs = [run.id for run in engine.start_many([{"kind": "t", "steps": ["steps.echo"]} for _ in range(7)])]
    for order, expected in (("asc", runs), ("desc", runs[::-1])):
        found, after = [], None
        while page := engine.list(kind="t", order=order, limit=3, after=after):
            assert len(page) <= 3
            found += [run.id for run in page]
            after = page[-1].id
            if order == "desc":
                engine.start("t", ["steps.echo"])  # newer than the first page
        assert found == expected
    assert [run.id for run in engine.list(kind="t", order="asc", after=runs[1], offset=2, limit=2)] == runs[4:6]


def test_after_takes_any_name_of_a_saga_and_refuses_what_is_none(engine):
    older = engine.start("t", ["steps.echo"], key="older")
    engine.start("t", ["steps.echo"], key="newer")
    assert [run.id for run in engine.list(after="t[newer]")] == [older.id]
    assert engine.list(after=older.id) == []
    with pytest.raises(InvalidInput, match="saga id must be a uuid"):
        engine.list(after="no such")


def test_lists_are_of_one_conversation_or_key_alone(engine):
    one = engine.start("t", ["steps.echo"], key="k", conversation_id="c")
    other = engine.start("u", ["steps.echo"], key="k", conversation_id="d")
    assert [run.id for run in engine.list(conversation_id="c")] == [one.id]
    assert [run.id for run in engine.list(key="k")] == [other.id, one.id]
    assert [run.id for run in engine.list(key="k", kind="t")] == [one.id]
