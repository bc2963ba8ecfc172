"""From a dotted name to a Step: only from allowed packages, checked once, remembered."""

from __future__ import annotations

import asyncio
import dataclasses
import difflib
import importlib
import importlib.util
import inspect
import pkgutil
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from types import ModuleType
from typing import Any, TypeVar, cast

from sagaworker.domain.retry import ONCE, UNDO_DEFAULT, RetryPolicy
from sagaworker.domain.state import SagaState
from sagaworker.domain.steplist import STEP_NAME, short_name
from sagaworker.domain.values import Json
from sagaworker.domain.walk import CompensateWhen, InDoubt, StepPolicy
from sagaworker.errors import InvalidInput, UnknownStep
from sagaworker.settings import Settings

Member = TypeVar("Member", bound=StrEnum)
MAX_NAME = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step as the runner uses it. `execute` and `compensate` are plain functions, whatever they were written as."""

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


class Registry:
    """The steps this process may run. Importing a step is the only import from text anywhere, and it is fenced in."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._steps: dict[str, Step] = {}

    def step(self, path: str) -> Step:
        """The step of that dotted name.

        Raises:
            UnknownStep: not in an allowed package, not there, not importable, or not shaped as a step; the message has
                the closest known name or the reason.
        """
        if path not in self._steps:
            self._steps[path] = self._load(path)
        return self._steps[path]

    def check_inputs(self, steps: Sequence[Step], inputs: Mapping[str, Json]) -> None:
        """Validate a saga's inputs by the `Inputs` type of each step that declares one.

        Raises:
            InvalidInput: with the step and what its type says.
        """
        for step in steps:
            if step.inputs_type is not None:
                _validate(step.inputs_type, inputs, step.path)

    def steps_of(self, module_name: str) -> list[str]:
        """Names of the steps in a module: its own where it has `execute`, then `module:Name` of what it defines itself.

        Raises:
            UnknownStep: not in an allowed package, or not importable.
        """
        module = self.module(module_name)
        own = [module_name] if hasattr(module, "execute") else []
        members = (
            name
            for name, value in vars(module).items()
            if not name.startswith("_")
            and hasattr(value, "execute")
            and (value if isinstance(value, type) else type(value)).__module__ == module_name
        )
        return own + [f"{module_name}:{name}" for name in members]

    def known(self) -> list[str]:
        """Dotted names of all modules in the allowed packages that could be steps, sorted. Imports only packages."""
        found: set[str] = set()
        for name in self._settings.step_packages:
            try:
                package = importlib.import_module(name)
            except Exception:  # noqa: BLE001, S112 - not there or broken: it has no steps, and the others have theirs
                continue
            within = pkgutil.walk_packages(getattr(package, "__path__", ()), name + ".", onerror=lambda _name: None)
            for module in within:
                if not module.ispkg and not _is_private(module.name.removeprefix(name)):
                    found.add(module.name)
        return sorted(found)

    def module(self, name: str) -> ModuleType:
        """A module or package of the allowed packages, for what it declares besides a step.

        Raises:
            UnknownStep: not in an allowed package, or not importable.
        """
        packages = self._settings.step_packages
        if not any(name == package or name.startswith(package + ".") for package in packages):
            raise UnknownStep(
                f"module {name[:200]!a} must be in an allowed package ({', '.join(packages)}), got another"
            )
        return self._import(name, name)

    def _load(self, path: str) -> Step:
        packages = self._settings.step_packages
        module_name, _, attribute = path.partition(":")
        package = next((package for package in packages if module_name.startswith(package + ".")), None)
        if not STEP_NAME.fullmatch(path) or package is None:
            raise UnknownStep(
                f"step {path[:200]!a} must be in an allowed package ({', '.join(packages)}), got another",
                self._hint(path) or "allow its package with SAGAWORKER_STEP_PACKAGES",
            )
        if _is_private(path.removeprefix(package)):
            raise UnknownStep(
                f"step {path!r} must be a public name of an allowed package, got a word that begins with an underscore"
            )
        module = self._import(module_name, path)
        try:
            return _step(self._member(module, attribute, path) if attribute else module, path, self._settings)
        except UnknownStep:
            raise
        except Exception as exc:
            raise UnknownStep(f"step {path!r} must have members that can be read, got {_told(exc)}") from exc

    def _member(self, module: ModuleType, attribute: str, path: str) -> object:
        """A class or object that belongs to the module; a class is called once."""
        if not hasattr(module, attribute):
            names = [name for name, value in vars(module).items() if hasattr(value, "execute")]
            close = difflib.get_close_matches(attribute, names, n=1)
            raise UnknownStep(
                f"step {path!r} must name a class or object of {module.__name__}, got no {attribute!r} there",
                f"did you mean {module.__name__}:{close[0]}?" if close else "",
            )
        owner = getattr(module, attribute)
        if not isinstance(owner, (type, ModuleType)):
            return owner
        # What a module of steps happens to import, psycopg's Connection or subprocess, was never allowed.
        packages = self._settings.step_packages
        if isinstance(owner, ModuleType) or not any(f"{owner.__module__}.".startswith(p + ".") for p in packages):
            raise UnknownStep(
                f"step {path!r} must be a class or object that is defined in an allowed package"
                f" ({', '.join(packages)}), got an imported {type(owner).__name__}"
            )
        return _instance(owner, path)

    def _import(self, module_name: str, path: str) -> ModuleType:
        try:
            return importlib.import_module(module_name)
        except ModuleNotFoundError as exc:
            if exc.name is not None and (module_name == exc.name or module_name.startswith(exc.name + ".")):
                raise UnknownStep(
                    f"step {path!r} must be a module this process can import, got no module {exc.name!r}",
                    self._hint(path),
                ) from None
            raise UnknownStep(f"step {path!r} must be importable, got {_told(exc)}") from exc
        except KeyboardInterrupt:
            raise
        except BaseException as exc:
            raise UnknownStep(f"step {path!r} must be importable, got {_told(exc)}") from exc

    def _hint(self, path: str) -> str:
        known = self.known()
        close = difflib.get_close_matches(path, known, n=1) or difflib.get_close_matches(
            short_name(path), [short_name(name) for name in known], n=1
        )
        if not close:
            return ""
        full = next(name for name in known if name == close[0] or name.endswith("." + close[0]))
        return f"did you mean {full}?"


def _is_private(words: str) -> bool:
    return any(word.startswith("_") for word in words.replace(":", ".").split("."))


def _told(exc: BaseException) -> str:
    """An exception of user code in one printable line of bounded length."""
    try:
        text = str(exc)
    except Exception:  # noqa: BLE001 - user code: __str__ may do anything
        text = "unprintable"
    return f"{type(exc).__name__}: {ascii(text[:400])[1:-1]}"


def _instance(owner: type, path: str) -> object:
    try:
        return owner()
    except (Exception, SystemExit) as exc:
        raise UnknownStep(f"step {path!r} must be a class without arguments, got {_told(exc)}") from exc


def _step(owner: object, path: str, settings: Settings) -> Step:
    execute = getattr(owner, "execute", None)
    if not callable(execute):
        raise UnknownStep(f"step {path!r} must have a function execute(state), got none", "see docs/writing-steps.md")
    compensate = getattr(owner, "compensate", None)
    if compensate is not None and not callable(compensate):
        raise UnknownStep(f"compensate of step {path!r} must be a function, got a {type(compensate).__name__}")
    timeout = _member(owner, path, "TIMEOUT", (int, float), settings.step_timeout.total_seconds())
    if isinstance(timeout, bool) or not 0 < timeout <= 86_400 * 30:
        raise UnknownStep(f"TIMEOUT of step {path!r} must be a number of seconds above 0, got {timeout!r}")
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
        timeout=timedelta(seconds=timeout),
        execute=_synchronous(execute),
        compensate=None if compensate is None else _synchronous(compensate),
        probe=_probe(owner, path, in_doubt),
        inputs_type=_member(owner, path, "Inputs", (type,), None),
    )


def _probe(owner: object, path: str, in_doubt: InDoubt) -> Callable[[SagaState], object] | None:
    """A probe is called where IN_DOUBT says so and nowhere else, so a step that says so must have one."""
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
    """An async member runs in an event loop of its own: a reused loop is unsafe after an asynchronous exception."""
    is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - an object whose __call__ is async
    )
    if not is_async:
        return function

    def run(state: SagaState) -> object:
        with asyncio.Runner() as runner:
            return runner.run(cast("Coroutine[object, object, object]", function(state)))

    return run


def _validate(inputs_type: type, inputs: Mapping[str, Json], path: str) -> None:
    try:
        if hasattr(inputs_type, "model_validate"):
            inputs_type.model_validate(dict(inputs))
        elif dataclasses.is_dataclass(inputs_type):
            names = {field.name for field in dataclasses.fields(inputs_type) if field.init}
            inputs_type(**{name: value for name, value in inputs.items() if name in names})
        else:
            raise UnknownStep(f"Inputs of step {path!r} must be a dataclass or a pydantic model, got {inputs_type!r}")
    except (TypeError, ValueError) as exc:
        if isinstance(exc, UnknownStep):
            raise
        raise InvalidInput(f"inputs must suit step {path!r}, got {type(exc).__name__}: {exc}") from exc
