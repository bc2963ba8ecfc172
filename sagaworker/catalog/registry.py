"""Find a Step by its dotted name: only in allowed packages, checked once, then remembered."""

from __future__ import annotations

import difflib
import inspect
import pkgutil
from collections.abc import Iterable
from types import ModuleType

from sagaworker.catalog.bounded import bounded
from sagaworker.catalog.imports import LONGEST, Imports
from sagaworker.catalog.step import Step, step_of
from sagaworker.domain.steplist import STEP_NAME, short_name
from sagaworker.errors import UnknownStep
from sagaworker.settings import Settings


class Registry:
    """The steps this process may run. A step is the only thing imported by a name in text, and from allowed packages only."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        # Do not wait longer for a step's module than the step itself may take.
        self._imports = Imports(within=max(1.0, min(LONGEST, settings.step_timeout.total_seconds())))
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

    def unread(self, paths: Iterable[str]) -> list[str]:
        """The given steps that this process has not loaded yet: loading them runs users' code."""
        return [path for path in dict.fromkeys(paths) if path not in self._steps]

    @property
    def import_bound(self) -> float:
        """Seconds after which an import is given up."""
        return self._imports.within

    def steps_of(self, module_name: str) -> list[str]:
        """Names of the steps in a module: its own where the module is a step, then `module:Name` of its classes and objects.

        Raises:
            UnknownStep: not in an allowed package, or not importable.
        """
        members = vars(self.module(module_name))
        # A module with an undo and no execute was meant as a step: a caller who asks for it learns what is missing.
        undo = getattr(members.get("compensate"), "__module__", None)
        own = [module_name] if "execute" in members or undo == module_name else []
        return own + [
            f"{module_name}:{name}"
            for name, value in members.items()
            if not name.startswith("_") and self._is_meant_as_step(value, module_name)
        ]

    def _is_meant_as_step(self, value: object, module_name: str) -> bool:
        """Whether the value could be used as a step: a class of this module, or an object of an allowed package.

        Asks the type first: an imported object may be a proxy that raises at every question.
        """
        kind = type(value)
        if not issubclass(kind, type):
            return self._is_allowed(f"{kind.__module__}.") and hasattr(kind, "execute")
        assert isinstance(value, type)
        if value.__module__ != module_name or not hasattr(value, "execute"):
            return False
        if inspect.isabstract(value) or getattr(value, "_is_protocol", False):
            return False
        try:
            inspect.signature(value).bind()
        except (TypeError, ValueError):
            return False  # the class wants arguments: a helper
        return True

    def _is_allowed(self, dotted: str) -> bool:
        return any(dotted.startswith(package + ".") for package in self._settings.step_packages)

    def known(self) -> list[str]:
        """Dotted names of all modules in the allowed packages that could be steps, sorted. Imports only packages."""
        found: set[str] = set()
        for name in self._settings.step_packages:
            try:
                package = self._imports.module(name)
            except Exception:  # noqa: BLE001, S112 - a missing or broken package has no steps; the others are still listed
                continue
            within = pkgutil.walk_packages(getattr(package, "__path__", ()), name + ".", onerror=lambda _name: None)
            for module in within:
                if not module.ispkg and not _is_private(module.name.removeprefix(name)):
                    found.add(module.name)
        return sorted(found)

    def module(self, name: str) -> ModuleType:
        """A module or package of the allowed packages, for its other declarations than steps.

        Raises:
            UnknownStep: not in an allowed package, or not importable.
        """
        if not self._is_allowed(f"{name}."):
            packages = ", ".join(self._settings.step_packages)
            raise UnknownStep(f"module {name[:200]!a} must be in an allowed package ({packages}), got another")
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
            owner = self._member(module, attribute, path) if attribute else module
            return step_of(owner, path, timeout=self._settings.step_timeout)
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
        # An object that the module merely imports, psycopg's Connection or subprocess, was never allowed.
        packages = self._settings.step_packages
        if isinstance(owner, ModuleType) or not self._is_allowed(f"{owner.__module__}."):
            raise UnknownStep(
                f"step {path!r} must be a class or object that is defined in an allowed package"
                f" ({', '.join(packages)}), got an imported {type(owner).__name__}"
            )
        return _instance(owner, path, self.import_bound)

    def _import(self, module_name: str, path: str) -> ModuleType:
        try:
            return self._imports.module(module_name)
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


def _instance(owner: type, path: str, seconds: float) -> object:
    try:
        return bounded(owner, seconds, "a call of the class")
    except (Exception, SystemExit) as exc:
        raise UnknownStep(f"step {path!r} must be a class without arguments, got {_told(exc)}") from exc
