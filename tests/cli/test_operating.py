"""What people do at a terminal: explain, hold, release, retry, skip, resolve, show --undo."""

from __future__ import annotations

import itertools

import psycopg
import pytest

from sagaworker.engine import Engine
from sagaworker.errors import InvalidInput
from tests.cli.conftest import Commands
from tests.holding import advance, claimed


@pytest.fixture
def waiting(engine: Engine) -> str:
    """A saga that waits for an operator because of a step in doubt: as a step that declares halt leaves it."""
    run = engine.start("pay", ["steps.echo", "steps.echo", "steps.echo"], key="one")
    hold = claimed(engine, run.id)
    advance(hold)
    hold.close()
    engine.take_over_dead(engine.owner)
    hold = claimed(engine, run.id)
    hold.park("operator", None)
    hold.close()
    return run.id


def test_explain_says_what_a_person_must_do(commands: Commands, waiting: str) -> None:
    said = commands("explain", "pay[one]").stdout
    assert "Its worker was lost in it, and whether it happened is not known." in " ".join(said.split())
    assert f"sagaworker resolve {waiting} --happened --output NAME=VALUE --reason ..." in " ".join(said.split())
    told = commands.json("explain", waiting)
    assert (told["needs_person"], told["waiting_for"], told["status"]) == (True, "operator", "running")


def test_a_doubt_is_resolved_with_outputs_and_by_whom(commands: Commands, engine: Engine, waiting: str) -> None:
    resolved = commands("resolve", waiting, "--happened", "--output", "n=3", "--reason", "seen", "--who", "ann")
    assert resolved.exit_code == 0, resolved.stderr
    assert "waits for a free worker" in " ".join(resolved.stdout.split())
    assert engine.list_step_results(waiting)[1].output == {"n": 3}
    entry = engine.timeline(waiting).journal[-1]
    assert (entry.type, entry.data["who"], entry.data["reason"]) == ("operator.resolved", "ann", "seen")
    assert commands("run", waiting).exit_code == 0


@pytest.mark.parametrize("given", [[], ["--output", "n=3", "--no-output"], ["--output-json", "{}", "--no-output"]])
def test_a_step_that_happened_must_have_its_outputs_or_their_absence_said(
    commands: Commands, engine: Engine, waiting: str, given: list[str]
) -> None:
    before = engine.timeline(waiting)
    refused = commands("resolve", waiting, "--happened", *given, "--reason", "seen")
    assert refused.exit_code == 2
    said = " ".join(refused.stderr.split())
    assert "--output NAME=VALUE or --output-json JSON, or --no-output where it put out nothing, got" in said
    assert engine.timeline(waiting) == before
    with pytest.raises(InvalidInput, match=r"{} where it put out nothing, got None\nat a terminal: .* --no-output"):
        engine.resolve(waiting, happened=True, reason="seen", who="ann")
    assert engine.timeline(waiting) == before


@pytest.mark.parametrize("given", [["--no-output"], ["--output-json", "{}"]])
def test_a_step_that_put_out_nothing_is_resolved_when_that_is_said(
    commands: Commands, engine: Engine, waiting: str, given: list[str]
) -> None:
    assert commands("resolve", waiting, "--absent", "--no-output", "--reason", "x").exit_code == 2
    resolved = commands("resolve", waiting, "--happened", *given, "--reason", "seen")
    assert resolved.exit_code == 0, resolved.stderr
    row = engine.list_step_results(waiting)[1]
    assert (row.status, row.output) == ("completed", {})


def test_who_is_the_login_name_unless_given(
    commands: Commands, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "berta")
    run = engine.start("t", ["steps.echo"])
    assert commands("hold", run.id, "--reason", "wait").exit_code == 0
    assert engine.timeline(run.id).journal[-1].data["who"] == "berta"
    assert "on hold by berta" in " ".join(commands("explain", run.id).stdout.split())
    assert commands("release", run.id, "--reason", "go").exit_code == 0
    assert engine.get(run.id).waiting_for is None


def test_who_cancelled_is_the_login_name_unless_given(
    commands: Commands, engine: Engine, waiting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "berta")
    assert commands("cancel", waiting, "--reason", "not wanted").exit_code == 0
    assert commands("cancel", waiting, "--who", "ann").exit_code == 0
    asked = engine.timeline(waiting).journal[-2:]
    assert [(one.data["who"], one.data["reason"]) for one in asked] == [("berta", "not wanted"), ("ann", None)]
    said = " ".join(commands("explain", waiting).stdout.split())
    assert "A cancel was accepted by berta (not wanted), then by ann: as soon as it goes on, it is undone." in said


def test_a_stale_view_is_refused(commands: Commands, engine: Engine, waiting: str) -> None:
    seq = commands.json("explain", waiting)["seq"]
    commands("cancel", waiting)
    refused = commands("skip", waiting, "--reason", "x", "--seq", str(seq))
    assert refused.exit_code == 1
    assert "look again and decide anew" in refused.stderr
    assert commands("skip", waiting, "--reason", "x").exit_code == 0


def test_retry_of_what_is_over_is_refused_with_a_sentence(commands: Commands, engine: Engine) -> None:
    run = engine.run(engine.start("t", ["steps.echo"]).id)
    refused = commands("retry", run.id, "--reason", "x")
    assert refused.exit_code == 1
    assert "retry cannot move saga" in refused.stderr


def test_a_saga_that_was_given_up_is_retried_or_undone(commands: Commands, engine: Engine) -> None:
    for undo, status in ((["--undo"], "compensating"), ([], "running")):
        run = engine.start("t", ["steps.echo", "steps.echo"], recovery_policy="fail")
        hold = claimed(engine, run.id)
        advance(hold)
        hold.close()
        engine.take_over_dead(engine.owner)
        assert commands.json("retry", run.id, *undo, "--reason", "x")["status"] == status


def test_a_saga_whose_module_is_missing_is_explained_and_retried_at_a_terminal(
    commands: Commands, engine: Engine
) -> None:
    id = commands.json("start", "pay", "steps.echo", "--key", "7")["id"]
    commands("run", id, SAGAWORKER_STEP_PACKAGES="shop")
    for arguments in (["show", id, "--journal"], ["explain", id]):
        said = " ".join(commands(*arguments).stdout.split())
        assert "step 'steps.echo' must be in an allowed package (shop), got another" in said
    assert f"sagaworker retry {id} --reason ..." in commands("explain", id).stdout
    assert commands("retry", id, "--reason", "allowed", "--who", "ann").exit_code == 0
    assert "ann: allowed" in commands("show", id, "--journal").stdout
    assert engine.run(id).status == "completed"


def test_list_says_what_each_saga_waits_for_and_which_need_a_person(
    commands: Commands, engine: Engine, waiting: str
) -> None:
    held, stuck, retried, idle = (engine.start("t", ["steps.echo"], key=key).id for key in "abcd")
    commands("hold", held, "--reason", "x")
    commands("run", stuck, SAGAWORKER_STEP_PACKAGES="shop")
    hold = claimed(engine, retried)
    hold.park("retry", 7250.0)
    hold.close()
    lines = commands("list").stdout.splitlines()
    below = {line.split()[0]: after.strip() for line, after in itertools.pairwise([*lines[1:], ""])}
    assert [below[id] for id in (waiting, held, stuck)] == [
        "waits for operator",
        "waits for hold",
        "no worker could run it",
    ]
    assert below[retried] == "waits for retry, 2 h left"
    assert lines[1].startswith(idle)
    assert lines[2].startswith(retried), "nothing is below what waits for nothing"
    assert all(len(line) <= 80 for line in lines)
    assert [run["id"] for run in commands.json("list", "--needs-person")] == [stuck, held, waiting]
    assert "no worker could run it" in commands("list", "--needs-person", "--status", "pending", "--since", "1h").stdout
    assert commands("list", "--since", "2999-01-01T00:00:00Z").stdout == "no sagas\n"
    refused = commands("list", "--since", "yesterday")
    assert (refused.exit_code, "since must be an instant" in refused.stderr) == (1, True)


def test_without_a_reason_or_an_answer_it_is_wrong_usage(commands: Commands, waiting: str) -> None:
    assert commands("hold", waiting).exit_code == 2
    assert commands("resolve", waiting, "--reason", "x").exit_code == 2


def test_show_undo_lists_what_a_cancel_would_undo_in_order(commands: Commands, waiting: str) -> None:
    shown = commands("show", waiting, "--undo").stdout.splitlines()
    assert shown[1:] == ["  step 1 echo, which may or may not have happened", "  step 0 echo"]
    assert [row["step_idx"] for row in commands.json("show", waiting, "--undo")] == [1, 0]


def test_a_step_has_one_number_wherever_it_is_named_by_it(commands: Commands, waiting: str) -> None:
    explained = " ".join(commands("explain", waiting).stdout.split())
    assert "is going forward, at step 1 next." in explained
    shown = commands("show", waiting, "--journal").stdout
    assert next(line.split()[:3] for line in shown.splitlines() if " running " in line) == ["1", "echo", "running"]
    listed = commands("list").stdout.splitlines()
    assert (listed[0].split()[3], listed[1].split()[3]) == ("done", "1/3"), "a count: one step of three is done"
    followed = [move for move in commands.json("show", waiting)["journal"] if move["type"] == "step.completed"]
    assert [move["step_idx"] for move in followed] == [0]


def test_nothing_to_undo_is_said(commands: Commands, engine: Engine) -> None:
    run = engine.start("t", ["steps.echo"])
    assert "nothing to undo" in commands("show", run.id, "--undo").stdout


def test_explain_does_not_change_the_ledger(commands: Commands, engine: Engine, waiting: str) -> None:
    before = engine.timeline(waiting)
    commands("explain", waiting)
    assert engine.timeline(waiting) == before
    with psycopg.connect(engine.settings.database_url or "") as connection:
        found = connection.execute("SELECT count(*) FROM saga_events WHERE type LIKE 'operator.%'").fetchone()
    assert found == (0,)


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (["--output", "x"], "--output"),
        (["--output", "x=" + "[" * 100_000], "--output"),
        (["--output-json", "[1]"], "--output-json"),
        (["--output-json", "{"], "--output-json"),
        (["--output-json", "@/nonexistent"], "--output-json"),
    ],
)
def test_a_wrong_output_is_told_by_the_name_of_its_option(
    commands: Commands, arguments: list[str], option: str
) -> None:
    id = commands.json("start", "hello", "steps.echo")["id"]
    refused = commands("resolve", id, "--happened", "--reason", "seen", *arguments)
    assert refused.exit_code in (1, 2)
    assert f"{option} must be" in refused.stderr or f"for {option}: " in refused.stderr
    assert "--input" not in refused.stderr
