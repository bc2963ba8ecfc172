"""django-celery-beat's DatabaseScheduler: our entry is a row among the shop's, kept as it should be."""

from __future__ import annotations

import pytest

from tests.hosts.host import DJANGO
from tests.waiting import wait_until

ROWS = """
    SELECT name, i.every, i.period, queue, expire_seconds, enabled
    FROM django_celery_beat_periodictask JOIN django_celery_beat_intervalschedule AS i ON i.id = interval_id
    WHERE task LIKE 'sagaworker.%%'
    ORDER BY name
"""
ADD = """
    WITH every AS (
      INSERT INTO django_celery_beat_intervalschedule (every, period) VALUES (%s, 'seconds') RETURNING id
    )
    INSERT INTO django_celery_beat_periodictask
      (name, task, interval_id, enabled, args, kwargs, headers, description, one_off, total_run_count, date_changed, queue)
    SELECT %s, 'sagaworker.wake_due', id, true, '[]', '{}', '{}', '', false, 0, now(), 'control'
    FROM every
"""
SWEEP = "sagaworker.sweep_orphans"
FORMER = "sagaworker.wake_due"


pytestmark = pytest.mark.parametrize("broker", ["redis"], indirect=True, scope="module")


@pytest.fixture(scope="module")
def shop(open_shop, broker):
    return open_shop(DJANGO, broker)


@pytest.fixture(scope="module")
def worker(shop):
    return shop.worker(SAGAWORKER_SWEEP_INTERVAL="1")


def beaten(shop, worker, **env):
    """Our rows after a beat that began anew has sent its first sweep."""
    before = swept(shop)
    beat = shop.beat(**env)
    # A sweep that finds nothing leaves no line in the worker's log.
    wait_until(lambda: f"({SWEEP})" in beat.logs(), what="a sweep that beat sent")
    wait_until(lambda: swept(shop) != before, what="a sweep that a worker made")
    beat.teardown()
    return shop.ask(ROWS)


def swept(shop):
    return shop.ask("SELECT name, last_at FROM saga_sweeps")


def test_our_entry_is_one_row_that_runs_expires_and_follows_its_setting(shop, worker):
    rows = beaten(shop, worker, SAGAWORKER_SWEEP_INTERVAL="1")
    assert rows == [(SWEEP, 1, "seconds", "control", 1, True)]
    assert f"Task {SWEEP}" not in worker.logs()
    wait_until(lambda: "Task shop.tasks.tick" in worker.logs(), what="the shop's own entry")
    assert beaten(shop, worker, SAGAWORKER_SWEEP_INTERVAL="2.5") == [(SWEEP, 2, "seconds", "control", 2, True)]


def test_the_row_of_an_entry_that_an_earlier_version_had_goes_and_somebody_elses_stays(shop, worker):
    shop.ask(ADD, 1, FORMER)
    shop.ask(ADD, 3600, "wake at night")
    rows = beaten(shop, worker, SAGAWORKER_SWEEP_INTERVAL="1")
    assert [name for name, *_ in rows] == [SWEEP, "wake at night"]
    assert f"Task {FORMER}" not in worker.logs()


def test_an_entry_of_our_name_that_the_shop_has_itself_is_the_shops(shop, worker):
    rows = beaten(shop, worker, SHOP_SWEEPS="3")
    assert (SWEEP, 3, "seconds", "control", None, True) in rows


def test_a_row_that_was_switched_off_by_a_person_stays_off(shop, worker):
    shop.ask("UPDATE django_celery_beat_periodictask SET enabled = false WHERE name = %s", SWEEP)
    beat = shop.beat(SAGAWORKER_SWEEP_INTERVAL="1")
    before = worker.logs().count("shop.tasks.tick")
    wait_until(lambda: worker.logs().count("shop.tasks.tick") > before, what="the shop's own entry")
    beat.teardown()
    assert [row[-1] for row in shop.ask(ROWS) if row[0] == SWEEP] == [False]
