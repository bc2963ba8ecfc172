"""How many connections stay open."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from sagaworker.ledger.database import Database


@pytest.mark.parametrize(("size", "while_one_is_used", "after"), [(2, 2, 2), (None, 4, 4)])
def test_a_pool_with_a_size_keeps_no_more_than_that_and_counts_those_in_use(
    database_url, size, while_one_is_used, after
):
    database = Database(database_url, pool_size=size)

    def is_open():
        pool = database.engine.pool
        return pool.checkedin() + pool.checkedout()

    with ExitStack() as walk:
        walk.enter_context(database.checkout())
        with ExitStack() as others:
            for _ in range(3):
                others.enter_context(database.checkout())
            assert is_open() == 4, "nobody waits for another"
        assert is_open() == while_one_is_used
    assert is_open() == after
    database.close()
