"""Why a saga is where it is, in plain words: records in, one paragraph out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import assert_never

from sagaworker.domain.records import Episode, SagaRun, StepResult, Timeline
from sagaworker.domain.status import RunStatus, StepStatus, WaitingFor
from sagaworker.domain.steplist import thawed

PASSED_OVER = "saga.recovery_skipped"
IMPORTS = 4  # imports of one saga's steps in a row that may end their process, or never end
IMPORTING_FOR = timedelta(minutes=1)  # an import that was noted longer ago has ended, or its process has


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """One paragraph about one saga, and the facts beside it.

    `seq` is the number of the last journal row: give it to an operator's move, and the move is refused where the saga
    has gone on since. `next_at`: when the saga goes on by itself, if known. `needs_person`: only a person moves it.
    `commands`: what a person may do, as commands without their reason.
    """

    saga_id: str
    label: str
    status: RunStatus
    waiting_for: WaitingFor | None
    text: str
    seq: int
    holder: str | None = None
    held_since: datetime | None = None
    next_at: datetime | None = None
    needs_person: bool = False
    commands: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """The text and the facts of one case."""

    sentences: tuple[str, ...]
    next_at: datetime | None = None
    commands: tuple[str, ...] = ()
    needs_person: bool = False  # also without a command for the person


def explain(timeline: Timeline, now: datetime) -> Explanation:
    """Say why a saga is where it is. `now` is the database's clock."""
    run = timeline.run
    place = _Place(timeline, now)
    told = _told(place)
    sentences = [_opening(place), *told.sentences]
    if run.cancel_requested and not run.status.is_terminal and run.status is not RunStatus.COMPENSATING:
        sentences.append(f"A cancel was accepted{_cancelled_by(place)}: as soon as it goes on, it is undone.")
    holder = place.holder
    return Explanation(
        saga_id=run.id,
        label=run.label,
        status=run.status,
        waiting_for=run.waiting_for,
        text=" ".join(sentence for sentence in sentences if sentence),
        seq=timeline.journal[-1].seq if timeline.journal else 0,
        holder=None if holder is None else _worker(holder),
        held_since=None if holder is None else holder.started_at,
        next_at=told.next_at,
        needs_person=told.needs_person or bool(told.commands),
        commands=tuple(f"sagaworker {command}".replace("ID", run.id) for command in told.commands),
    )


def undo_list(timeline: Timeline) -> list[StepResult]:
    """The rows that a cancel now would undo, in that order; while undoing, the rows still to undo; else no rows.

    A step that is running now comes first: it ends before it is undone.
    """
    run = timeline.run
    if run.status.is_terminal or run.status is RunStatus.PENDING:
        return []

    def is_undone(row: StepResult) -> bool:
        if row.step_idx == run.current_step_idx:
            if run.status is RunStatus.COMPENSATING:
                return True
            return row.status in (StepStatus.RUNNING, StepStatus.WAITING) or row.in_doubt > 0
        begun = (StepStatus.PENDING, StepStatus.RUNNING, StepStatus.WAITING, StepStatus.FAILED)
        return row.status is StepStatus.COMPLETED or (row.in_doubt > 0 and row.status in begun)

    below = [row for row in timeline.steps if row.step_idx <= run.current_step_idx and is_undone(row)]
    return sorted(below, key=lambda row: row.step_idx, reverse=True)


def is_passed_over(timeline: Timeline, now: datetime | None = None) -> bool:
    """Whether a saga may run, and its last journal row says that a worker could not run it or a sweep not recover it.

    With `now`, an import of the saga's step that may still be under way does not count.
    """
    run, journal = timeline.run, timeline.journal
    may_run = not run.status.is_terminal and run.waiting_for is None
    if not may_run or not journal or journal[-1].type != PASSED_OVER:
        return False
    data = journal[-1].data
    if now is None or not 0 < data.get("imports", 0) <= IMPORTS or "last_at" not in data:
        return True
    return now - datetime.fromisoformat(data["last_at"]) > IMPORTING_FOR


class _Place:
    """Where a saga stands, with the words for it."""

    def __init__(self, timeline: Timeline, now: datetime) -> None:
        self.timeline = timeline
        self.run: SagaRun = timeline.run
        self.now = now
        self.row = next((row for row in timeline.steps if row.step_idx == self.run.current_step_idx), None)
        self.holder = next((one for one in reversed(timeline.episodes) if one.ended_at is None), None)

    def named(self, idx: int) -> str:
        """`step 1 charge_card`, counted from 0 as everywhere."""
        entry = thawed(self.run.step_modules)[idx]
        row = next((row for row in self.timeline.steps if row.step_idx == idx), None)
        name = entry.id or (row.step_name if row else entry.short_name)
        return f"step {idx} {name}"

    @property
    def step(self) -> str:
        return self.named(self.run.current_step_idx)

    @property
    def has_failed_undo(self) -> bool:
        return self.row is not None and self.row.status is StepStatus.COMPENSATION_FAILED

    @property
    def error(self) -> str:
        """The error of the current row's last attempt."""
        return _line(self.row.error if self.row else None)


def _opening(place: _Place) -> str:
    run = place.run
    match run.status:
        case RunStatus.PENDING:
            return f"{run.label} is stored and nothing of it has begun."
        case RunStatus.RUNNING:
            return f"{run.label} is going forward, at {place.step}."
        case RunStatus.COMPENSATING:
            return f"{run.label} is being undone because {_why(place)}, at {place.step}."
        case RunStatus.COMPLETED:
            return f"{run.label} completed all {len(run.step_modules)} steps at {_at(run.completed_at)}."
        case RunStatus.ROLLED_BACK:
            return f"{run.label} was rolled back because {_why(place)}; that ended at {_at(run.completed_at)}."
        case RunStatus.FAILED:
            return f"{run.label} failed because {_why(place)}; that was at {_at(run.completed_at)}."
        case _:
            assert_never(run.status)


def _told(place: _Place) -> _Told:
    run = place.run
    match run.status:
        case RunStatus.COMPLETED:
            return _Told(sentences=("Nothing will change any more.",))
        case RunStatus.ROLLED_BACK:
            return _Told(
                sentences=("All that had happened was undone or declared skipped; nothing will change any more.",)
            )
        case RunStatus.FAILED:
            return _failed(place)
        case RunStatus.PENDING | RunStatus.RUNNING | RunStatus.COMPENSATING:
            return _held(place) if place.holder is not None else _unheld(place)
        case _:
            assert_never(run.status)


def _failed(place: _Place) -> _Told:
    lost = [place.named(row.step_idx) for row in place.timeline.steps if row.status is StepStatus.COMPENSATION_FAILED]
    if lost:
        what = f"Not undone: {', '.join(lost)}."
        todo = (
            "Find out what is left of it in the other system; if the undo can work now, retry it, else undo it by hand."
        )
        return _Told(sentences=(what, todo), commands=("retry ID",))
    what = "Nothing was undone: its policy says that a person must look when its worker is lost."
    todo = "Let it go on from that step with retry, or undo it with retry --undo."
    return _Told(sentences=(what, todo), commands=("retry ID", "retry ID --undo"))


def _held(place: _Place) -> _Told:
    holder, row, run = place.holder, place.row, place.run
    assert holder is not None
    who = f"{_worker(holder)} has held it since {_at(holder.started_at)}"
    if holder.lease_until < place.now:
        lost = f"{who}, but its lease ran out at {_at(holder.lease_until)}: it is lost or paused."
        if is_passed_over(place.timeline, place.now):
            todo = "What the ledger holds of it must be repaired; the sweep then gives it to another worker."
            return _Told(sentences=(lost, _passed_over(place), todo), needs_person=True)
        return _Told(sentences=(lost, "The next sweep gives the saga to another worker."), next_at=holder.lease_until)
    doing = f"{who} and {_doing(place)}."
    after = ""
    if run.waiting_for is WaitingFor.HOLD:
        after = "An operator has put it on hold: when this ends, the worker lets go."
        return _Told(sentences=(doing, after), commands=("release ID",))
    if row is not None and row.deadline_at is not None:
        after = f"If that takes longer than {_at(row.deadline_at)} it is stopped."
    return _Told(sentences=(doing, after), next_at=row.deadline_at if row else None)


def _doing(place: _Place) -> str:
    row = place.row
    if row is None:
        return "is about to begin it"
    if row.status is StepStatus.COMPENSATING:
        tries = f" (attempt {row.compensation_attempts + 1})" if row.compensation_attempts else ""
        return f"is undoing it{tries}"
    if row.status is StepStatus.RUNNING and row.deadline_at is not None:
        return f"is in attempt {row.attempts} of it, since {_at(row.started_at)}"
    if row.status is StepStatus.RUNNING:
        return "is finding out whether it happened"
    failed = f" after: {place.error}" if place.error else ""
    return f"waits to begin it{failed}"


def _unheld(place: _Place) -> _Told:  # noqa: PLR0911 - one for each reason to wait
    run = place.run
    match run.waiting_for:
        case None:
            return _runnable(place)
        case WaitingFor.RETRY:
            what = f"Its {'undo' if run.status is RunStatus.COMPENSATING else 'step'} failed ({place.error or 'no error given'})"
            return _Told(sentences=(f"{what} and is tried again at {_at(run.wake_at)}.",), next_at=run.wake_at)
        case WaitingFor.QUARANTINE:
            what = "Its worker was given up unseen, so a late effect may still come; until then nothing is decided about it."
            return _Told(sentences=(what, f"It goes on at {_at(run.wake_at)}."), next_at=run.wake_at)
        case WaitingFor.TIMER:
            return _Told(sentences=(f"It waits until {_at(run.wake_at)}.",), next_at=run.wake_at)
        case WaitingFor.HOLD:
            what = f"It is on hold{_order_of(place, 'operator.held')}: nothing begins until somebody releases it."
            halted = f"{_failed_undo(place)} It will wait for a person then." if place.has_failed_undo else ""
            return _Told(sentences=(halted, what), commands=("release ID",))
        case WaitingFor.OPERATOR:
            return _operator(place)
        case WaitingFor.SIGNAL | WaitingFor.APPROVAL | WaitingFor.CHILDREN:
            until = f" or until {_at(run.wake_at)}" if run.wake_at else ""
            return _Told(sentences=(f"It waits for {run.waiting_for}{until}.",), next_at=run.wake_at)
        case _:
            assert_never(run.waiting_for)


def _runnable(place: _Place) -> _Told:
    run, row = place.run, place.row
    before = ""
    if row is not None and row.status is StepStatus.RUNNING:
        before = f"Its worker was lost in attempt {row.attempts} of it, so it may or may not have happened."
    elif row is not None and row.status is StepStatus.COMPENSATING and row.compensation_recoveries:
        before = "A worker was lost in its undo."
    if is_passed_over(place.timeline, place.now):
        again = f" Without that it is rung again at {_at(run.wake_at)}." if run.wake_at else ""
        todo = f"{_who_could(place)}; then retry rings it at once.{again}"
        return _Told(sentences=(before, _passed_over(place), todo), next_at=run.wake_at, commands=("retry ID",))
    what = "Nobody holds it; it waits for a free worker."
    again = f"It is rung again at {_at(run.wake_at)} if none has come by then." if run.wake_at else ""
    return _Told(sentences=(before, what, again), next_at=run.wake_at)


def _passed_over(place: _Place) -> str:
    """`Nobody could run it: ... Last tried ...`, from the last journal row; a row of an older version says less."""
    entry = place.timeline.journal[-1]
    data = entry.data
    reason = "; ".join(str(data.get("reason") or "no reason given").splitlines()).removesuffix(".")
    stop = "" if reason.endswith("?") else "."
    tries, host = data.get("tries", 1), data.get("host")
    last_at = datetime.fromisoformat(data["last_at"]).astimezone(UTC) if "last_at" in data else entry.created_at
    by = f" by {host}:{data.get('pid')}" if host else ""
    since = f", {tries} times since {_at(entry.created_at)}" if tries > 1 else ""
    return f"No worker could run it: {reason}{stop} That was last tried at {_at(last_at)}{by}{since}."


def _who_could(place: _Place) -> str:
    step = place.timeline.journal[-1].data.get("step")
    if step is None:
        return "See that what the ledger holds of it, or what the reason names, is repaired"
    module = str(step).partition(":")[0]
    queue = f" of queue {place.run.queue}" if place.run.queue else ""
    return (
        f"A worker{queue} can, where module {module} can be imported and a package that holds it is in"
        " SAGAWORKER_STEP_PACKAGES: see that one is such a worker"
    )


def _operator(place: _Place) -> _Told:
    if place.has_failed_undo:
        todo = "Repair what stops the undo and retry it; or undo it by hand and skip it."
        return _Told(sentences=(_failed_undo(place), todo), commands=("retry ID", "skip ID"))
    said = f" (its probe said: {place.error})" if place.error else ""
    what = f"Its worker was lost in it, and whether it happened is not known{said}."
    todo = "Find out, and resolve it: it happened (with its outputs), or it did not. Or retry it, or skip it and undo the rest."
    commands = ("resolve ID --happened --output NAME=VALUE", "resolve ID --absent", "retry ID", "skip ID")
    return _Told(sentences=(what, todo), commands=commands)


def _failed_undo(place: _Place) -> str:
    said = f": {place.error}" if place.error else ""
    return f"Its undo failed for good{said}. The saga halts there because it was started so."


def _order_of(place: _Place, kind: str) -> str:
    """` by ann since ... (reason)`, from the last journal row of that type."""
    entry = next((one for one in reversed(place.timeline.journal) if one.type == kind), None)
    if entry is None:
        return ", as its recovery policy says, since its worker was lost"
    who = f" by {entry.data.get('who')}" if entry.data.get("who") else ""
    return f"{who} since {_at(entry.created_at)} ({entry.data.get('reason')})"


_REASONS = {
    "step_failed": "step {name} failed",
    "step_in_doubt": "step {name} may or may not have happened",
    "recoveries_exhausted": "step {name} lost its worker too often",
    "cancelled": "it was cancelled",
    "timed_out": "its deadline passed",
    "orphaned": "its worker was lost",
}


def _why(place: _Place) -> str:
    run = place.run
    reason, _, name = str((run.error or {}).get("reason", "")).partition(":")
    sentence = _REASONS.get(reason, reason or "of an unknown reason").format(name=name)
    if reason == "cancelled":
        return sentence + _cancelled_by(place)
    broken = next((row for row in place.timeline.steps if row.step_name == name and row.error), None)
    return sentence + (f" ({_line(broken.error)})" if broken and broken.error else "")


def _cancelled_by(place: _Place) -> str:
    """` by ann (not wanted), then by bob`, from the journal; a row of an older version has the reason alone."""
    asked = [entry.data for entry in place.timeline.journal if entry.type == "saga.cancel_requested"]
    if not any(one.get("who") or one.get("reason") for one in asked):
        return f" ({place.run.cancel_reason})" if place.run.cancel_reason else ""
    told = []
    for one in asked:
        who = f" by {one['who']}" if one.get("who") else ""
        told.append(who + (f" ({one['reason']})" if one.get("reason") else ""))
    return ", then".join(one for one in told if one)


def _worker(holder: Episode) -> str:
    return f"Worker {holder.host}:{holder.pid}"


def _at(instant: datetime | None) -> str:
    return "an unknown time" if instant is None else f"{instant:%Y-%m-%d %H:%M:%S %Z}"


def _line(error: Mapping[str, object] | None) -> str:
    """A step's error as one line."""
    if not error:
        return ""
    kind, message = str(error.get("kind") or ""), str(error.get("message") or "").partition("\n")[0]
    return message or kind if kind in ("", "StepFailed") else f"{kind}: {message}" if message else kind
