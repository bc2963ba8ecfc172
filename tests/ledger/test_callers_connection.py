"""A caller's connection: what it registers for itself does not reach our statements."""

from __future__ import annotations

import psycopg
import pytest
from psycopg.types.json import set_json_loads

from sagaworker import Engine
from sagaworker.errors import InvalidInput


@pytest.fixture
def engine(database_url):
    with Engine.from_env(database_url=database_url, step_packages="steps") as made:
        yield made


def as_text(raw):
    return raw if isinstance(raw, str) else bytes(raw).decode()


@pytest.mark.parametrize("style", ["ISO, MDY", "German, DMY"])
def test_what_a_caller_registers_on_its_connection_does_not_change_a_run(engine, style):
    with psycopg.connect(engine.settings.database_url, row_factory=psycopg.rows.tuple_row) as connection:
        set_json_loads(as_text, connection)
        connection.execute(f"SET DateStyle = '{style}'")
        connection.execute("SET IntervalStyle = 'sql_standard'")
        run = engine.start("t", ["steps.echo"], inputs={"a": [1]}, key="k", connection=connection)
        again = engine.start("t", ["steps.echo"], inputs={"a": [1]}, key="k", connection=connection)
    assert (again.id, dict(again.inputs), again.step_modules) == (run.id, {"a": [1]}, run.step_modules)
    assert again.started_at == engine.get(run.id).started_at


def test_a_connection_given_as_none_is_refused_with_the_reason(engine):
    with pytest.raises(InvalidInput, match="got None"):
        engine.start("t", ["steps.echo"], connection=None)
    assert engine.list() == []
