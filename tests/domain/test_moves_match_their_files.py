"""The transition table in domain/status.py and the first lines of the .sql files say the same, both ways."""

import re

from sagaworker.domain.moves import MOVES, Maker, made_by
from sagaworker.ledger.statements import statement_files

FILES = statement_files()


def declared(opening="move"):
    """The transitions that files state in their first line, by the name in that line or the file's own."""
    found = {}
    for name, file in FILES.items():
        first = file.read_text().splitlines()[0]
        if match := re.fullmatch(rf"-- {opening}: (.+)", first):
            pairs = (pair.split(" -> ") for pair in match[match.lastindex].split("; "))
            found[match[1] if match.lastindex == 2 else name] = frozenset((before, after) for before, after in pairs)
    return found


def test_every_move_has_a_file_that_states_it_and_every_such_file_is_a_move():
    assert declared() == {name: move.transitions for name, move in MOVES.items()}


def test_a_short_form_makes_no_transition_that_its_move_does_not_make():
    short = declared(r"short form of (\w+)")
    assert set(short) == {"advance", "claim", "complete", "start"}
    for name, transitions in short.items():
        assert transitions <= MOVES[name].transitions


def test_a_short_form_proves_in_its_own_update_that_nothing_has_come_in_between():
    for name in ("advance", "complete"):
        guard = FILES[f"{name}_plain"].read_text().partition("WHERE")[2].partition("RETURNING")[0]
        assert "r.fence = %(fence)s" in guard
        assert "AND NOT r.cancel_requested" in guard
        assert "AND (r.deadline_at IS NULL OR r.deadline_at > statement_timestamp())" in guard
        assert ("AND r.waiting_for IS NULL" in guard) == (name == "advance")


def test_a_first_claim_proves_in_its_own_update_that_nothing_has_come_since_the_start():
    guard = FILES["claim_first"].read_text().partition("WHERE\n")[2].partition("RETURNING")[0]
    for proof in (
        "r.status = 'pending'",
        "r.fence = 0",
        "NOT r.cancel_requested",
        "(r.deadline_at IS NULL OR r.deadline_at > statement_timestamp())",
        "r.waiting_for IS NULL",
        "r.archived_at IS NULL",
        "r.step_modules = %(step_modules)s::jsonb",
    ):
        assert f"AND {proof}\n" in guard, proof


def test_every_file_says_in_its_first_line_what_it_is():
    for name, file in FILES.items():
        assert re.match(r"-- (move|short form of \w+|read|lock|lease|rings|notes): ", file.read_text()), name


PROOFS = {"claim": "r.fence = %(seen_fence)s", "take_over": "r.fence = found.fence"}


def test_every_update_of_a_run_by_a_holder_proves_the_fence():
    """Of the run itself: each writes the fence to its row, too, and names its episode by it."""
    for name in made_by(Maker.HOLDER) | {"take_over", "pass_over"}:
        text = FILES[name].read_text()
        (update,) = re.findall(r"UPDATE saga_runs AS r.*?RETURNING", text, re.DOTALL)
        where = update.rpartition("\n  WHERE")[2]
        assert re.search(rf"(^|AND)\s+{re.escape(PROOFS.get(name, 'r.fence = %(fence)s'))}(?!\w)", where), name


def test_every_move_of_an_operator_says_who_and_why_and_leaves_the_fence_alone():
    for name in made_by(Maker.OPERATOR):
        text = FILES[name].read_text()
        assert "'who', %(who)s::text" in text, name
        assert re.search(r"'reason',\s+%\(reason\)s::text", text), name
        assert not re.search(r"\bfence = ", text), name


def test_no_guard_compares_the_journal_number():
    for name, file in FILES.items():
        if file.read_text().startswith(("-- move: ", "-- short form")):
            assert not re.search(r"(WHERE|AND)[^,;]*\bseq\s*(=|<|>)", file.read_text()), name
