"""The rules that statements share as functions: PostgreSQL puts each into its place, and anybody who may move sagas may ask them."""

import itertools
import re

import psycopg
import pytest

from sagaworker.engine import Engine
from sagaworker.ledger.migrate import migrate
from sagaworker.ledger.names import FUNCTIONS
from sagaworker.ledger.statements import statement_files
from sagaworker.settings import Settings

ASKED = {
    "saga_wants_undo": "SELECT 1 FROM saga_step_results WHERE saga_wants_undo(status, in_doubt)",
    "saga_in_scope": "SELECT 1 FROM saga_runs WHERE saga_in_scope(source_stack, source_env, %s::text, %s::text)",
    "saga_must_stop": "SELECT 1 FROM saga_runs WHERE saga_must_stop(cancel_requested, deadline_at)",
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_rule_is_put_into_the_place_of_its_call(database_url, name):
    with psycopg.connect(database_url) as connection:
        arguments = ("a", "b") if "%s" in ASKED[name] else ()
        plan = connection.execute(f"EXPLAIN (VERBOSE, GENERIC_PLAN false) {ASKED[name]}", arguments).fetchall()
    assert "Filter" in str(plan)
    assert name not in str(plan)


def test_every_rule_is_asked_by_some_statement():
    texts = " ".join(file.read_text() for file in statement_files().values())
    assert {name for name in FUNCTIONS if f"{name}(" not in texts} == set()
    assert set(re.findall(r"\b(saga_\w+)\(", texts)) == set(FUNCTIONS)


def test_a_rule_says_what_was_written_out_before(database_url):
    statuses = ["pending", "running", "waiting", "failed", "completed", "compensating", "compensated", "skipped"]
    scopes = list(itertools.product((None, "a", "b"), repeat=4))
    with psycopg.connect(database_url) as connection:
        for status, in_doubt in itertools.product(statuses, (0, 1)):
            told = connection.execute("SELECT saga_wants_undo(%s, %s)", (status, in_doubt)).fetchone()
            assert told == (
                status == "completed" or (in_doubt > 0 and status in ("pending", "running", "waiting", "failed")),
            )
        for stack, env, own_stack, own_env in scopes:
            told = connection.execute("SELECT saga_in_scope(%s, %s, %s, %s)", (stack, env, own_stack, own_env))
            # A comparison with NULL is no yes in a WHERE.
            assert bool(told.fetchone()[0]) == (
                (own_stack is None or stack is None or stack == own_stack) and env == own_env
            )


def test_a_database_that_grants_nothing_by_default_lets_a_role_of_the_tables_move_sagas(empty_database_url):
    name = f"mover_{empty_database_url[-8:]}"
    with psycopg.connect(empty_database_url, autocommit=True) as admin:
        admin.execute("ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC")
        migrate(empty_database_url)
        admin.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'x'")
        try:
            admin.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {name}")
            admin.execute(f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {name}")
            url = re.sub(r"//[^@]*@", f"//{name}:x@", empty_database_url)
            with Engine(Settings.from_env({}, database_url=url)) as engine:
                assert engine.run(engine.start("t", ["steps.echo", "steps.fail"])).status == "rolled_back"
                assert engine.sweep().restarted == 0
        finally:
            admin.execute(f"DROP OWNED BY {name}")
            admin.execute(f"DROP ROLE {name}")
