"""The transition table in domain/status.py and the first lines of the .sql files say the same, both ways."""

import re

from sagaworker.domain.moves import MOVES, Maker, made_by
from sagaworker.ledger.statements import statement_files

FILES = statement_files()


def declared():
    found = {}
    for name, file in FILES.items():
        first = file.read_text().splitlines()[0]
        if match := re.fullmatch(r"-- move: (.+)", first):
            pairs = (pair.split(" -> ") for pair in match[1].split("; "))
            found[name] = frozenset((before, after) for before, after in pairs)
    return found


def test_every_move_has_a_file_that_states_it_and_every_such_file_is_a_move():
    assert declared() == {name: move.transitions for name, move in MOVES.items()}


def test_every_file_says_in_its_first_line_what_it_is():
    for name, file in FILES.items():
        assert re.match(r"-- (move|read|lock|lease|rings|notes): ", file.read_text()), name


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
        if file.read_text().startswith("-- move: "):
            assert not re.search(r"(WHERE|AND)[^,;]*\bseq\s*(=|<|>)", file.read_text()), name
