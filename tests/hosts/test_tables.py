"""A shop's migrations and ours in one database: neither reads, changes or drops what is the other's."""

from __future__ import annotations

import psycopg
import pytest

from sagaworker.ledger.version import head
from tests.hosts.host import DJANGO, FASTAPI

DJANGOS = """
import django
django.setup()
from django.core.management import call_command
call_command("makemigrations", "--check", "--dry-run")
call_command("migrate", "shop", "zero", verbosity=0)
call_command("migrate", "shop", verbosity=0)
print("flushes:")
call_command("sqlflush")
call_command("flush", "--no-input")
"""


@pytest.fixture(params=[None, "of_sagas"], ids=["in_the_shops_schema", "in_a_schema_of_ours"])
def schema(request):
    return request.param


def started(shop):
    """A saga that is in the ledger, whatever the shop does to its tables."""
    return shop.engine.start("kept", ["steps.echo"], key="one").id


def kept(shop):
    shop.engine.check_schema()
    assert shop.engine.audit() == []
    return [run.id for run in shop.engine.list()]


def test_alembics_history_of_the_shop_and_ours_go_their_own_ways(open_shop, schema):
    shop = open_shop(FASTAPI, schema=schema)
    saga = started(shop)
    assert shop.ask("SELECT version_num FROM alembic_version") == [("0004",)]
    assert shop.ask(f"SELECT version_num FROM {schema or 'public'}.sagaworker_version") == [(head(),)]
    assert "No new upgrade operations detected" in shop.command("-m", "alembic", "check")
    shop.command("-m", "alembic", "downgrade", "base")
    with pytest.raises(psycopg.errors.UndefinedTable):
        shop.ask("SELECT FROM episodes")
    shop.command("-m", "alembic", "upgrade", "head")
    assert shop.ask("SELECT title FROM episodes") == []
    assert kept(shop) == [saga]


def test_djangos_migrations_and_ours_go_their_own_ways(open_shop):
    shop = open_shop(DJANGO)
    saga = started(shop)
    told = shop.command("-c", DJANGOS, DJANGO_SETTINGS_MODULE="shop.settings")
    assert "No changes detected" in told
    assert "saga" not in told.partition("flushes:")[2]
    assert shop.ask("SELECT FROM episodes") == []
    assert kept(shop) == [saga]


def test_our_tables_go_and_a_shop_stays_as_it_is(open_shop):
    shop = open_shop(FASTAPI)
    shop.command("-m", "sagaworker", "migrate", "--to", "base", "--yes")
    assert shop.ask("SELECT version_num FROM alembic_version") == [("0004",)]
    assert shop.ask("SELECT title FROM episodes") == [("Pilot",)]
    assert shop.ask("SELECT tablename FROM pg_tables WHERE tablename LIKE 'saga%%'") == [("sagaworker_version",)]
