"""Sentences and figures for people. Pure: records in, text out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from sagaworker.domain.records import JournalEntry, SagaRun, StepResult
from sagaworker.domain.status import RunStatus, StepStatus
from sagaworker.domain.steplist import thawed

# Each character that a terminal obeys or reorders by, as one visible sign: a column keeps its width.
_SIGNS = {
    **{code: 0x2400 + code for code in range(0x20)},
    0x7F: 0x2421,
    **dict.fromkeys([*range(0x80, 0xA0), 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A)], 0xFFFD),
}
_SIGNS_BUT_LAYOUT = {code: sign for code, sign in _SIGNS.items() if code not in (0x09, 0x0A)}
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


def visible(text: str) -> str:
    r"""One line in which control characters are seen and not obeyed.

    >>> visible("a\x1b[31m\nb")
    'a␛[31m␊b'
    """
    return text.translate(_SIGNS)


def visible_lines(text: str) -> str:
    """The same for text whose lines and tabs are its own."""
    return text.translate(_SIGNS_BUT_LAYOUT)


def duration(length: timedelta) -> str:
    """Two figures at most: `8 ms`, `1.2 s`, `42 s`, `3 min 5 s`, `2 h 4 min`, `5 d 1 h`.

    >>> duration(timedelta(seconds=185))
    '3 min 5 s'
    """
    seconds = max(length.total_seconds(), 0.0)
    whole = round(seconds)
    if seconds < 0.9995:  # noqa: PLR2004 - below it would read 1000 ms
        return f"{seconds * 1000:.0f} ms"
    if seconds < 9.95:  # noqa: PLR2004 - below it would read 10.0 s
        return f"{seconds:.1f} s"
    if whole < _MINUTE:
        return f"{whole} s"
    for unit, name, smaller, smaller_name in ((_DAY, "d", _HOUR, "h"), (_HOUR, "h", _MINUTE, "min")):
        if whole >= unit:
            return f"{whole // unit} {name} {whole % unit // smaller} {smaller_name}"
    return f"{whole // _MINUTE} min {whole % _MINUTE} s"


def ago(length: timedelta) -> str:
    """One figure: `8 s ago`, `3 min ago`.

    >>> ago(timedelta(seconds=185))
    '3 min ago'
    """
    return f"{_figure(length)} ago"


def _figure(length: timedelta) -> str:
    seconds = max(round(length.total_seconds()), 0)
    for unit, name in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= unit:
            return f"{seconds // unit} {name}"
    return f"{seconds} s"


def instant(at: datetime | None) -> str:
    """`2031-05-04 17:03:12 UTC`, or nothing."""
    return "" if at is None else f"{at:%Y-%m-%d %H:%M:%S} UTC"


def count(number: int, noun: str) -> str:
    """`1 step`, `3 steps`.

    >>> count(2, "step")
    '2 steps'
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def times(number: int) -> str:
    """`once`, `twice`, `3 times`."""
    return {1: "once", 2: "twice"}.get(number, f"{number} times")


def step_names(run: SagaRun) -> list[str]:
    """The name of each entry of the list: its id, else the last word of the step's dotted name."""
    return [visible(entry.id or entry.short_name) for entry in thawed(run.step_modules)]


def progress(run: SagaRun) -> tuple[int, int]:
    """How many steps are done (and not undone), and how many there are: counts, no step's number."""
    total = len(run.step_modules)
    match run.status:
        case RunStatus.COMPLETED:
            return total, total
        case RunStatus.ROLLED_BACK:
            return 0, total
        case RunStatus.COMPENSATING:
            return run.current_step_idx + 1, total
        case _:
            return run.current_step_idx, total


def waiting(run: SagaRun) -> str:
    """The reason why a parked saga waits: `waits for retry until 2031-05-04 17:03:12 UTC`."""
    if run.waiting_for is None:
        return ""
    return f"waits for {run.waiting_for}" + (f" until {instant(run.wake_at)}" if run.wake_at else "")


def waiting_left(run: SagaRun, now: datetime) -> str:
    """The same in short: `waits for retry, 3 min left`."""
    if run.waiting_for is None:
        return ""
    return f"waits for {run.waiting_for}" + (f", {_figure(run.wake_at - now)} left" if run.wake_at else "")


def first_line(error: Mapping[str, object] | None) -> str:
    """A step's error as one line: its message, with its kind where that says more than StepFailed."""
    if not error:
        return ""
    message = visible(str(error.get("message") or "").partition("\n")[0])
    kind = visible(str(error.get("kind") or ""))
    if kind in ("", "StepFailed"):
        return message or kind
    return f"{kind}: {message}" if message else kind


def note(entry: JournalEntry) -> str:
    """Who made a move and why, or what went wrong in it, as one line: `ann: seats answers again`."""
    said = entry.data.get("reason") or first_line(entry.data.get("error"))
    return visible(": ".join(str(part) for part in (entry.data.get("who"), said) if part))


def cancel(entry: JournalEntry) -> str:
    """Who asked for a cancel, when and why: `by ann at 2031-05-04 17:03:12 UTC: not wanted`."""
    who, reason = entry.data.get("who"), entry.data.get("reason")
    asked = (f"by {who} " if who else "") + f"at {instant(entry.created_at)}"
    return visible(f"{asked}: {reason}" if reason else asked)


def why(run: SagaRun, steps: Sequence[StepResult] = ()) -> str:
    """Why a saga stopped going forward, as one sentence; nothing when it did not."""
    if not run.error:
        return ""
    reason, _, name = str(run.error.get("reason", "")).partition(":")
    failed = next((row for row in reversed(steps) if row.error and row.status is not StepStatus.PENDING), None)
    what = {
        "step_failed": f"step {name} failed",
        "step_in_doubt": f"step {name} may or may not have happened",
        "recoveries_exhausted": f"step {name} lost its worker more than {run.max_recoveries} times",
        "cancelled": "cancelled",
        "timed_out": "its deadline passed",
        "orphaned": "its worker was lost",
    }.get(reason, reason)
    detail = run.cancel_reason if reason == "cancelled" else first_line(failed.error if failed else None)
    sentence = f"{what}: {detail}" if detail else what
    not_undone = run.error.get("not_undone")
    if isinstance(not_undone, list) and not_undone:
        names = ", ".join(f"step {one.get('idx')} {one.get('name')}" for one in not_undone if isinstance(one, dict))
        sentence += f"; not undone: {names}"
    return visible(sentence)


def ending(run: SagaRun, steps: Sequence[StepResult] = ()) -> str:
    """`saga checkout[42] is rolled_back: step charge_card failed: card declined`."""
    reason = why(run, steps)
    return f"saga {run.label} is {run.status}" + (f": {reason}" if reason else "")
