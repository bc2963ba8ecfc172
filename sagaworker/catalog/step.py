"""A step: the declarations of a module, class or object, checked once (docs/writing-steps.md)."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import threading
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, TypeVar, cast

from sagaworker.catalog.bounded import Hung, bounded
from sagaworker.domain.retry import ONCE, UNDO_DEFAULT, RetryPolicy
from sagaworker.domain.state import SagaState
from sagaworker.domain.steplist import short_name
from sagaworker.domain.values import Json
from sagaworker.domain.walk import CompensateWhen, InDoubt, StepPolicy
from sagaworker.errors import InvalidInput, UnknownStep

Member = TypeVar("Member", bound=StrEnum)
MAX_NAME = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step as the runner uses it. `execute` and `compensate` are plain functions, even where the step wrote async ones."""

    path: str
    policy: StepPolicy
    timeout: timedelta
    execute: Callable[[SagaState], object]
    compensate: Callable[[SagaState], object] | None
    probe: Callable[[SagaState], object] | None
    inputs_type: type | None

    @property
    def name(self) -> str:
        return self.policy.name


def step_of(owner: object, path: str, *, timeout: timedelta) -> Step:
    """The step that this module, class instance or object declares. `timeout` is for a step that declares no TIMEOUT.

    Raises:
        UnknownStep: a member is missing, or breaks the contract.
    """
    execute = getattr(owner, "execute", None)
    if not callable(execute):
        raise UnknownStep(f"step {path!r} must have a function execute(state), got none", "see docs/writing-steps.md")
    compensate = getattr(owner, "compensate", None)
    if compensate is not None and not callable(compensate):
        raise UnknownStep(f"compensate of step {path!r} must be a function, got a {type(compensate).__name__}")
    seconds = _member(owner, path, "TIMEOUT", (int, float), timeout.total_seconds())
    if isinstance(seconds, bool) or not 0 < seconds <= 86_400 * 30:
        raise UnknownStep(f"TIMEOUT of step {path!r} must be a number of seconds above 0, got {seconds!r}")
    name = _member(owner, path, "NAME", (str,), short_name(path))
    in_doubt = _choice(owner, path, "IN_DOUBT", InDoubt, InDoubt.RETRY)
    if not 1 <= len(name) <= MAX_NAME or not name.isprintable():
        raise UnknownStep(f"NAME of step {path!r} must be 1 to {MAX_NAME} printable characters, got {name[:80]!a}")
    return Step(
        path=path,
        policy=StepPolicy(
            name=name,
            in_doubt=in_doubt,
            compensate_when=_choice(owner, path, "COMPENSATE_WHEN", CompensateWhen, CompensateWhen.ALWAYS),
            transactional=_member(owner, path, "TRANSACTIONAL", (bool,), default=False),
            tombstone=_member(owner, path, "TOMBSTONE", (bool,), default=False),
            retry=_member(owner, path, "RETRY", (RetryPolicy,), ONCE),
            undo_retry=_member(owner, path, "COMPENSATE_RETRY", (RetryPolicy,), UNDO_DEFAULT),
        ),
        timeout=timedelta(seconds=seconds),
        execute=_synchronous(execute),
        compensate=None if compensate is None else _synchronous(compensate),
        probe=_probe(owner, path, in_doubt),
        inputs_type=_member(owner, path, "Inputs", (type,), None),
    )


def _probe(owner: object, path: str, in_doubt: InDoubt) -> Callable[[SagaState], object] | None:
    """The runner calls a probe only where IN_DOUBT is "probe"; such a step must have one."""
    probe = getattr(owner, "probe", None)
    if probe is not None and not callable(probe):
        raise UnknownStep(f"probe of step {path!r} must be a function, got a {type(probe).__name__}")
    if in_doubt is not InDoubt.PROBE:
        return None
    if probe is None:
        raise UnknownStep(
            f"step {path!r} must have a function probe(state) because IN_DOUBT is 'probe', got none",
            "see docs/writing-steps.md",
        )
    return _synchronous(probe)


def _member(owner: object, path: str, name: str, kinds: tuple[type, ...], default: Any) -> Any:
    value = getattr(owner, name, default)
    if value is not default and not isinstance(value, kinds):
        wanted = " or ".join(kind.__name__ for kind in kinds)
        raise UnknownStep(f"{name} of step {path!r} must be a {wanted}, got {value!r}")
    return value


def _choice(owner: object, path: str, name: str, choices: type[Member], default: Member) -> Member:
    value = getattr(owner, name, default)
    try:
        return choices(value)
    except ValueError:
        legal = ", ".join(repr(str(choice)) for choice in choices)
        raise UnknownStep(f"{name} of step {path!r} must be one of {legal}, got {value!r}") from None


def _synchronous(function: Callable[[SagaState], object]) -> Callable[[SagaState], object]:
    """Run an async member in a new event loop: a reused loop is unsafe after an asynchronous exception."""
    is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - an object whose __call__ is async
    )
    if not is_async:
        return function

    def run(state: SagaState) -> object:
        call = cast("Callable[[SagaState], Coroutine[object, object, object]]", function)
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            with asyncio.Runner() as runner:
                return runner.run(call(state))
        return _beside_a_loop(lambda: call(state))

    return run


def _beside_a_loop(call: Callable[[], Coroutine[object, object, object]]) -> object:
    """Run the call in a new thread, since one thread cannot run two event loops; the caller waits.

    An exception that interrupts the caller, such as a time-out, cancels the call and is raised once the call has ended.
    """
    running: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[object]]] = []
    ended: Future[object] = Future()
    context = copy_context()

    async def main() -> object:
        task = asyncio.current_task()
        assert task is not None
        running.append((asyncio.get_running_loop(), task))
        return await call()

    def work() -> None:
        try:
            with asyncio.Runner() as runner:
                ended.set_result(runner.run(main(), context=context))
        except BaseException as exc:  # noqa: BLE001 - raised again in the caller's thread
            ended.set_exception(exc)

    thread = threading.Thread(target=work, name="sagaworker-async-step", daemon=True)
    thread.start()
    try:
        return ended.result()
    except BaseException:
        for loop, task in running:
            with suppress(RuntimeError):  # the loop is closed: the call has ended
                loop.call_soon_threadsafe(task.cancel)
        thread.join()
        raise


def check_inputs(step: Step, inputs: Mapping[str, Json], *, within: float) -> None:
    """Validate a saga's inputs by the step's `Inputs` type, if there is one, within so many seconds.

    Raises:
        InvalidInput: names the step and gives the type's reason.
    """
    inputs_type, path = step.inputs_type, step.path
    if inputs_type is None:
        return
    try:
        if hasattr(inputs_type, "model_validate"):
            bounded(lambda: inputs_type.model_validate(dict(inputs)), within, "a validation")
        elif dataclasses.is_dataclass(inputs_type):
            names = {field.name for field in dataclasses.fields(inputs_type) if field.init}
            given = {name: value for name, value in inputs.items() if name in names}
            bounded(lambda: inputs_type(**given), within, "a validation")
        else:
            raise UnknownStep(f"Inputs of step {path!r} must be a dataclass or a pydantic model, got {inputs_type!r}")
    except (TypeError, ValueError, Hung) as exc:
        if isinstance(exc, UnknownStep):
            raise
        raise InvalidInput(f"inputs must suit step {path!r}, got {type(exc).__name__}: {exc}") from exc
