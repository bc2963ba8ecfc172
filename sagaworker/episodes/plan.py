"""What is walked: a saga run as it was read, with the steps its list names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import timedelta

from sagaworker.catalog.registry import Registry
from sagaworker.catalog.step import Step
from sagaworker.domain.records import Doorbell, SagaRun
from sagaworker.domain.steplist import StepEntry, thawed
from sagaworker.errors import UnknownStep


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One run and its list, which is frozen since the start. `undo_timeout` bounds every undo of the list."""

    run: SagaRun
    entries: Sequence[StepEntry]
    steps: Sequence[Step]
    undo_timeout: timedelta

    def of(self, run: SagaRun) -> Plan:
        """The same steps for the saga as the ledger has it: its own list, for a number that is equal may be of another type."""
        return Plan(run=run, entries=thawed(run.step_modules), steps=self.steps, undo_timeout=self.undo_timeout)

    def doorbell(self, idx: int) -> Doorbell:
        """The doorbell of this saga at step `idx`."""
        return replace(Doorbell.of(self.run), goes_first=True, step_idx=idx, step_name=self.steps[idx].name)


BeforeImport = Callable[[Sequence[str]], AbstractContextManager[None]]


class Unrunnable(Exception):
    """A run that cannot be walked here. `step`: the one that is missing here, if that is why. `is_noted`: in the journal."""

    def __init__(self, reason: str, step: str | None = None, *, is_noted: bool = False) -> None:
        super().__init__(reason, step)
        self.reason = reason
        self.step = step
        self.is_noted = is_noted


def planned(run: SagaRun, registry: Registry, before_import: BeforeImport) -> Plan:
    """A run with its steps loaded; `before_import` surrounds the loading of those that are not yet.

    Raises:
        Unrunnable: a step is missing here, or what the ledger holds is no list that could be walked.
    """
    try:
        entries = thawed(run.step_modules)
    except (AttributeError, KeyError, TypeError) as exc:
        raise Unrunnable(f"step list of saga {run.id} must be readable, got {type(exc).__name__}: {exc}") from exc
    if not 0 <= run.current_step_idx < len(entries):
        raise Unrunnable(
            f"step {run.current_step_idx} of saga {run.id} must be in its list, got {len(entries)} entries"
        )
    if not isinstance(run.inputs, dict):
        raise Unrunnable(f"inputs of saga {run.id} must be an object, got a {type(run.inputs).__name__}")
    unread = registry.unread(entry.step for entry in entries)
    with before_import(unread) if unread else nullcontext():
        steps = [_loaded(entry.step, registry) for entry in entries]
    # One bound for all of them: the lease's cap is the last line of defence, not the time-out.
    return Plan(run=run, entries=entries, steps=steps, undo_timeout=max(step.timeout for step in steps))


def _loaded(path: str, registry: Registry) -> Step:
    try:
        return registry.step(path)
    except UnknownStep as exc:
        raise Unrunnable(str(exc), path) from exc
