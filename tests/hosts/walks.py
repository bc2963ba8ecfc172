"""What holds in every shop, whatever it is made of: a module's `shop` fixture says which."""

from __future__ import annotations

import pytest

from tests.showing import timeline
from tests.waiting import wait_until


class Walks:
    """Sagas from an order to their end, through the shop's own web server, broker and worker."""

    def test_an_order_is_walked_to_its_end_and_rung_by_its_commit(self, shop):
        placed = shop.post("/orders")
        assert shop.finished(placed["saga"]).status == "completed"
        assert shop.status_of(placed["order"]) == "shipped"
        assert (placed["same"], placed["kept"]) == (True, True)

    def test_the_lines_of_the_page_start_a_saga(self, shop):
        bought = shop.submit("/buy", email="ann@example.com")
        assert shop.finished(bought["saga"]).status == "completed"
        assert shop.status_of(bought["order"]) == "shipped"

    def test_a_failing_saga_is_rolled_back_in_the_shops_tables(self, shop):
        placed = shop.order(declined=True)
        done = shop.finished(placed["saga"])
        assert (done.status, done.error["reason"]) == ("rolled_back", "step_failed:charge"), timeline(
            shop.engine, done.id
        )
        assert shop.status_of(placed["order"]) == "released"

    def test_a_request_that_fails_leaves_neither_order_nor_saga(self, shop):
        before = shop.ask("SELECT max(id) FROM orders"), len(shop.engine.list(limit=1000))
        shop.post("/orders", status=500, crash=True)
        assert (shop.ask("SELECT max(id) FROM orders"), len(shop.engine.list(limit=1000))) == before

    def test_a_savepoint_that_is_rolled_back_takes_its_saga_with_it_and_no_other(self, shop):
        placed = shop.post("/gifts")
        assert shop.finished(placed["saga"]).status == "completed"
        assert shop.ask("SELECT FROM orders WHERE id = %s", placed["present"]) == []
        assert placed["lost"] not in [run.id for run in shop.engine.list(limit=1000)]

    @pytest.mark.parametrize("by", ["api", "task"])
    def test_a_cancelled_order_is_undone_once_its_step_is_over(self, shop, by):
        gate = shop.gate(f"cancel-{by}-{shop.broker.name}")
        placed = shop.order(gate=gate.name)
        gate.reached()
        answer = shop.post(f"/cancel/{by}/{placed['saga']}")["answer"]
        assert answer == ("requested" if by == "api" else "sent")
        wait_until(lambda: shop.engine.get(placed["saga"]).cancel_requested)
        gate.opens()
        done = shop.finished(placed["saga"])
        assert (done.status, done.cancel_reason) == ("rolled_back", "changed her mind")
        assert shop.status_of(placed["order"]) == "released"

    def test_a_worker_that_is_deployed_anew_in_the_middle_loses_nothing(self, shop):
        gate = shop.gate(f"deploy-{shop.broker.name}")
        placed = shop.order(gate=gate.name)
        gate.reached()
        shop.stop(shop.hands, opening=gate)
        assert shop.engine.get(placed["saga"]).status == "running"
        shop.hands = shop.worker()
        assert shop.finished(placed["saga"]).status == "completed"
        found = shop.engine.timeline(placed["saga"])
        assert [str(episode.outcome) for episode in found.episodes] == ["yielded", "completed"], timeline(
            shop.engine, placed["saga"]
        )
        assert [row.attempts for row in found.steps] == [1, 1, 1]

    def test_a_saga_can_be_started_by_a_task_whose_result_comes_back(self, shop):
        order = shop.post("/orders")["order"]
        started = shop.post(
            "/tasks/sagaworker.start_saga", args=["again", [f"{shop.package}.steps.ship"], {"order": order}], wait=True
        )
        done = shop.finished(started["result"])
        assert (done.status, done.key) == ("completed", f"task:{started['id']}")

    def test_a_step_that_times_out_inside_a_query_leaves_its_undo_a_connection_that_works(self, shop):
        placed = shop.order()
        shop.finished(placed["saga"])
        steps = [f"{shop.package}.steps.{name}" for name in ("reserve", "stall")]
        started = shop.post(
            "/tasks/sagaworker.start_saga", args=["stalls", steps, {"order": placed["order"]}], wait=True
        )
        done = shop.finished(started["result"])
        rows = shop.engine.list_step_results(done.id)
        assert (done.status, shop.status_of(placed["order"])) == ("rolled_back", "released"), timeline(
            shop.engine, done.id
        )
        assert [(row.in_doubt, row.compensation_attempts) for row in rows] == [(False, 1), (True, 1)]

    def test_the_ledger_is_sound_and_beside_it_nothing_of_the_shops_was_touched(self, shop):
        assert shop.engine.audit() == []
        assert shop.ask("SELECT title FROM episodes") == [("Pilot",)]
