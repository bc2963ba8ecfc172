"""Whole walks in this process, on a real PostgreSQL: what the ledger says and what the steps saw."""

import json
import threading

import psycopg
import pytest

from sagaworker import Engine, InvalidInput
from sagaworker.domain.status import RunStatus, StepStatus
from tests.episodes import steps
from tests.showing import timeline
from tests.waiting import PATIENCE, wait_until

S = "tests.episodes.steps:"
ALL_BUT_MINE = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name = 'sagaworker'
"""


def walked(engine, *names, **options):
    run = engine.start("test", names, **options)
    return engine.run(run.id)


def statuses(engine, run):
    return [str(step.status) for step in engine.list_step_results(run.id)]


def test_three_echoes_complete_and_leave_their_outputs_in_the_context(engine):
    run = walked(engine, "steps.echo", "steps.echo", "steps.echo", inputs={"who": "ada"})
    assert run.status is RunStatus.COMPLETED, timeline(engine, run.id)
    assert sorted(run.context) == ["echoed_at_step_0", "echoed_at_step_1", "echoed_at_step_2"]
    assert all("who" not in step.output for step in engine.list_step_results(run.id))


def test_echo_echo_fail_is_rolled_back_with_the_exact_error(engine):
    run = walked(engine, "steps.echo", "steps.echo", "steps.fail")
    assert run.status is RunStatus.ROLLED_BACK
    assert statuses(engine, run) == ["compensated", "compensated", "failed"]
    assert run.error == {"reason": "step_failed:fail", "compensate_from_idx": 1}
    assert run.error_class == "step_failed"


def test_a_definite_failure_undoes_what_came_before_it_and_not_itself(engine):
    run = walked(engine, S + "Works", S + "Works", S + "Declines")
    assert steps.EFFECTS == ["execute 0", "execute 1", "undo 1 completed last=1", "undo 0 completed last=0"]
    row = engine.list_step_results(run.id)[2]
    assert (row.status, row.in_doubt) == (StepStatus.FAILED, 0)
    assert row.error["kind"] == "StepFailed"
    assert row.error["details"] == {"code": 51}


def test_the_undo_of_a_step_sees_its_own_output_and_none_of_later_steps(engine):
    walked(engine, S + "Works", S + "Works", S + "Works", S + "Declines")
    assert [effect for effect in steps.EFFECTS if effect.startswith("undo")] == [
        "undo 2 completed last=2",
        "undo 1 completed last=1",
        "undo 0 completed last=0",
    ]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Raises", "RuntimeError"),
        ("Leaves", "SystemExit"),
        ("Hangs", "StepTimedOut"),
        ("ReturnsSeven", "InvalidInput"),
        ("ReturnsNothing", "InvalidInput"),
        ("ReturnsAnothersState", "InvalidInput"),
        ("Unprintable", "Odd"),
        ("UglyMessage", "RuntimeError"),
        ("TooLarge", "InvalidInput"),
    ],
)
def test_anything_but_a_definite_failure_leaves_the_step_in_doubt_and_undoes_it_too(engine, name, kind):
    run = walked(engine, S + "Works", S + name)
    assert run.status is RunStatus.ROLLED_BACK, timeline(engine, run.id)
    assert run.error == {"reason": f"step_failed:{name}", "compensate_from_idx": 1}
    assert run.error_class == "step_in_doubt"
    row = engine.list_step_results(run.id)[1]
    assert (row.status, row.in_doubt, row.attempts) == (StepStatus.COMPENSATED, 1, 1)
    assert row.error["kind"] == kind
    assert steps.EFFECTS[-2:] == ["undo 1 unknown last=0", "undo 0 completed last=0"]


def test_another_saga_of_the_same_process_is_unharmed_by_all_of_these(engine):
    walked(engine, S + "Leaves")
    walked(engine, S + "Hangs")
    assert walked(engine, "steps.echo").status is RunStatus.COMPLETED


def test_a_short_retry_waits_in_place_under_the_same_idempotency_key(engine):
    steps.RaisesThenWorks.keys.clear()
    run = walked(engine, S + "RaisesThenWorks")
    row = engine.list_step_results(run.id)[0]
    assert [f"{run.id}:0"] * 3 == steps.RaisesThenWorks.keys
    assert run.status is RunStatus.COMPLETED, timeline(engine, run.id)
    assert (row.attempts, row.in_doubt, row.recoveries) == (3, 2, 0)
    assert len(engine.timeline(run.id).episodes) == 1


def test_doubt_is_sticky_a_definite_failure_after_a_doubted_attempt_undoes_the_step(engine):
    walked(engine, S + "RaisesThenDeclines")
    assert steps.EFFECTS == ["undo 0 unknown last=None"]


def test_a_long_retry_parks_the_saga_and_frees_the_worker(engine):
    run = walked(engine, S + "RetriesLater")
    assert (run.status, run.waiting_for) == (RunStatus.RUNNING, "retry")
    assert (run.wake_at - run.started_at).total_seconds() > 59
    assert engine.run(run.id).waiting_for == "retry", "it is not due, so nobody may claim it"
    assert engine.timeline(run.id).episodes[-1].outcome == "parked"


def test_async_members_run_in_a_loop_of_their_own(engine):
    run = walked(engine, S + "Async", S + "Declines")
    assert run.status is RunStatus.ROLLED_BACK
    assert statuses(engine, run) == ["compensated", "failed"]
    assert engine.list_step_results(run.id)[0].output == {"async": True}
    assert steps.EFFECTS == ["async undo"]


def test_params_id_and_name_reach_the_step(engine):
    run = walked(engine, {"step": S + "UsesParams", "id": "greet", "params": {"n": 1}})
    assert run.context == {"seen": {"n": 1}, "id": "greet"}
    assert engine.list_step_results(run.id)[0].step_name == "with_params"


def test_a_step_without_undo_is_compensated_as_there_is_nothing_to_undo(engine):
    run = walked(engine, S + "NoUndo", "steps.fail")
    assert statuses(engine, run) == ["compensated", "failed"]


def test_an_undo_that_fails_is_retried_recorded_and_the_walk_goes_on(engine):
    run = walked(engine, S + "Works", S + "UndoFails", S + "Declines")
    assert run.status is RunStatus.FAILED
    assert statuses(engine, run) == ["compensated", "compensation_failed", "failed"]
    assert run.error["not_undone"] == [{"idx": 1, "name": "UndoFails"}]
    row = engine.list_step_results(run.id)[1]
    assert row.compensation_attempts == 2
    assert row.error["message"] == "refund service is down"


def test_an_undo_that_fails_stops_the_walk_where_the_saga_says_halt(engine):
    run = walked(engine, S + "Works", S + "UndoFails", S + "Declines", on_compensation_failure="halt")
    assert (run.status, run.waiting_for) == (RunStatus.COMPENSATING, "operator")
    assert statuses(engine, run) == ["completed", "compensation_failed", "failed"]


def test_an_undo_that_returns_something_has_failed(engine):
    run = walked(engine, S + "UndoReturns", S + "Declines")
    assert run.status is RunStatus.FAILED
    assert "compensate must return None" in engine.list_step_results(run.id)[0].error["message"]


def test_a_doubted_step_that_opted_out_of_its_undo_is_skipped(engine):
    run = walked(engine, S + "Works", S + "SkipsDoubt")
    assert run.status is RunStatus.ROLLED_BACK
    assert statuses(engine, run) == ["compensated", "skipped"]


def test_a_cancel_during_a_step_lets_it_finish_and_undoes_all_of_it(engine):
    answers = []
    steps.Calls.hook = lambda state: answers.append(engine.cancel(state.saga_id, "changed my mind"))
    run = walked(engine, S + "Works", S + "Calls", S + "Works")
    assert answers == ["requested"]
    assert run.status is RunStatus.ROLLED_BACK, timeline(engine, run.id)
    assert run.error == {"reason": "cancelled", "compensate_from_idx": 1}
    assert (run.error_class, run.cancel_reason) == ("cancelled", "changed my mind")
    assert steps.EFFECTS == ["execute 0", "execute 1", "undo 1 completed last=1", "undo 0 completed last=0"]


def test_a_cancel_during_the_last_step_undoes_it_too(engine):
    steps.Calls.hook = lambda state: engine.cancel(state.saga_id)
    run = walked(engine, S + "Calls")
    assert run.status is RunStatus.ROLLED_BACK
    assert run.error_class == "cancelled"
    assert steps.EFFECTS == ["execute 0", "undo 0 completed last=0"]


def test_a_cancel_before_anything_began_rolls_back_at_once_and_is_asked_once(engine):
    run = engine.start("test", ["steps.echo"])
    assert engine.cancel(run.id) == "cancelled"
    assert engine.cancel(run.id) == "not_active"
    assert engine.get(run.id).error == {"reason": "cancelled", "compensate_from_idx": None}


def test_a_cancel_asked_twice_keeps_who_asked_and_why_both_times(engine):
    answers = []
    steps.Calls.hook = lambda state: answers.extend(
        [engine.cancel(state.saga_id, "a", who="ann"), engine.cancel(state.saga_id, "b", who="bob")]
    )
    run = walked(engine, S + "Calls")
    assert answers == ["requested", "requested"]
    rows = [entry for entry in engine.timeline(run.id).journal if entry.type == "saga.cancel_requested"]
    assert [(row.data["who"], row.data["reason"]) for row in rows] == [("ann", "a"), ("bob", "b")]
    assert (run.status, run.cancel_reason) == (RunStatus.ROLLED_BACK, "a")
    assert "because it was cancelled by ann (a), then by bob (b)" in engine.explain(run.id).text
    assert engine.cancel(run.id, "c") == "not_active"
    assert len(engine.timeline(run.id).journal) == rows[-1].seq + 2, "a refused one leaves no row"


def test_a_second_cancel_does_not_turn_round_what_waits_for_the_first(engine):
    run = engine.start("test", [S + "Works"])
    engine.hold(run.id, reason="x", who="ann")
    assert [engine.cancel(run.id), engine.cancel(run.id, "b")] == ["requested", "requested"]
    held = engine.get(run.id)
    assert (held.status, held.waiting_for, held.cancel_reason) == (RunStatus.PENDING, "hold", None)
    engine.release(run.id, reason="x", who="ann")
    assert engine.cancel(run.id, "c") == "requested"
    assert engine.run(run.id).status is RunStatus.ROLLED_BACK
    assert [e.data["reason"] for e in engine.timeline(run.id).journal if "cancel" in e.type] == [None, "b", "c"]


def test_a_step_that_checks_is_stopped_early_by_a_cancel(engine):
    steps.ChecksCancelled.hook = lambda state: engine.cancel(state.saga_id)
    run = walked(engine, S + "ChecksCancelled")
    assert run.status is RunStatus.ROLLED_BACK
    assert engine.list_step_results(run.id)[0].error["kind"] == "StepCancelled"
    assert (run.error["reason"], run.error_class) == ("cancelled", "cancelled")


def test_a_run_deadline_that_passed_before_the_first_step_begins_none(engine):
    run = walked(engine, S + "Works", deadline=-1)
    assert (run.status, run.error_class) == (RunStatus.ROLLED_BACK, "timed_out")
    assert steps.EFFECTS == []


@pytest.mark.parametrize("after", [["Works"], []])
def test_a_run_deadline_that_passes_during_a_step_lets_it_finish_and_undoes_all_of_it(engine, after):
    def passes(state):
        with psycopg.connect(engine.settings.database_url, autocommit=True) as connection:
            connection.execute("UPDATE saga_runs SET deadline_at = clock_timestamp() WHERE id = %s", [state.saga_id])

    steps.Calls.hook = passes
    run = walked(engine, *(S + name for name in ["Works", "Calls", *after]), deadline=3600)
    assert (run.status, run.error_class) == (RunStatus.ROLLED_BACK, "timed_out"), timeline(engine, run.id)
    assert steps.EFFECTS == ["execute 0", "execute 1", "undo 1 completed last=1", "undo 0 completed last=0"]


def test_a_heartbeat_whose_connection_died_comes_again_in_time(settings):
    with Engine(settings.replace(lease=2.0)) as engine:

        def lease():
            return engine.timeline(run.id).episodes[0].lease_until

        def lost(_state):
            first = lease()
            wait_until(lambda: lease() > first, what="the first heartbeat")
            with psycopg.connect(settings.database_url, autocommit=True) as connection:
                assert connection.execute(ALL_BUT_MINE).rowcount > 1  # the walk's and the heartbeat's among them
            second = lease()
            wait_until(lambda: lease() > second, what="the heartbeat after the lost one")

        steps.Calls.hook = lost
        run = engine.start("test", [S + "Calls"])
        assert engine.run(run.id).status is RunStatus.COMPLETED, timeline(engine, run.id)
        assert len(engine.timeline(run.id).episodes) == 1


def test_walking_a_terminal_saga_again_changes_nothing(engine):
    run = walked(engine, "steps.echo")
    assert engine.run(run.id) == run
    assert len(engine.timeline(run.id).episodes) == 1


def test_a_checkpoint_is_read_by_the_next_attempt_and_refused_to_a_stale_fence(engine):
    refused = []

    def hook(state):
        engine.upsert_step_result(state.saga_id, state.step_idx, fence=state.fence, output={"page": 7})
        try:
            engine.upsert_step_result(state.saga_id, state.step_idx, fence=state.fence - 1, output={})
        except Exception as exc:
            refused.append(type(exc).__name__)
        if state.attempt == 1:
            raise ConnectionError

    steps.Notes.hook = hook
    steps.Notes.RETRY = steps.RetryPolicy(max_attempts=2, base=0.001)
    run = walked(engine, S + "Notes")
    assert run.status is RunStatus.COMPLETED, timeline(engine, run.id)
    assert steps.EFFECTS[:2] == ["checkpoint None", "checkpoint {'error': None, 'output': {'page': 7}}"]
    assert refused == ["Fenced", "Fenced"]


def test_outside_the_main_thread_the_time_out_shows_in_check_cancelled(engine):
    seen = []
    steps.ChecksCancelled.hook = lambda state: seen.append(state.deadline)
    steps.ChecksCancelled.TIMEOUT = 0.2
    try:
        run = engine.start("test", [S + "ChecksCancelled"])
        thread = threading.Thread(target=engine.run, args=(run.id,))
        thread.start()
        thread.join(PATIENCE)
    finally:
        del steps.ChecksCancelled.TIMEOUT
    assert engine.get(run.id).status is RunStatus.ROLLED_BACK
    assert engine.list_step_results(run.id)[0].error["kind"] == "StepTimedOut"
    assert seen[0] is not None


def test_ctrl_c_inside_a_step_leaves_it_in_doubt_counted_and_free_to_go_on(engine):
    import os
    import signal

    def hook(state):
        if state.attempt == 1:
            os.kill(os.getpid(), signal.SIGINT)

    steps.Calls.hook = hook
    run = engine.start("test", [S + "Calls"])
    with pytest.raises(KeyboardInterrupt):
        engine.run(run.id)
    assert engine.timeline(run.id).episodes[0].outcome == "died"
    assert engine.run(run.id).status is RunStatus.COMPLETED
    row = engine.list_step_results(run.id)[0]
    assert (row.attempts, row.in_doubt, row.recoveries) == (2, 1, 1)


def test_a_thousand_steps_of_one_saga_are_walked(engine):
    run = walked(engine, *[S + "Works"] * 1000)
    assert run.status is RunStatus.COMPLETED
    assert len(run.context) == 1001


def test_the_context_limit_holds_over_all_steps(engine, settings):
    from sagaworker.engine import Engine

    with Engine(settings.replace(max_context_bytes=1000)) as small:
        run = small.run(small.start("test", [S + "Wordy"] * 20).id)
        rows = small.list_step_results(run.id)
        assert run.status is RunStatus.ROLLED_BACK
        assert "must be at most 1000 bytes of JSON, got 1029" in rows[-1].error["message"], rows[-1].error
        assert len(json.dumps(run.context, separators=(",", ":"))) <= 1000
        assert len(run.context) == len(rows) - 1


def test_an_id_that_is_none_is_refused(engine):
    with pytest.raises(InvalidInput, match="must be a uuid"):
        engine.run("no-id")
