"""Definitions: read from the modules that declare them, stored in the database, looked up for a start or a recovery."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sagaworker.catalog.registry import Registry
from sagaworker.domain.definition import Definition
from sagaworker.domain.values import encoded
from sagaworker.errors import InvalidInput, UnknownStep
from sagaworker.ledger.definitions import DefinitionStore
from sagaworker.ledger.outage import OUTAGE
from sagaworker.ledger.session import Connection
from sagaworker.settings import Settings

log = logging.getLogger(__name__)

Pair = tuple[str | None, str]  # actor and kind
EXPORT = "DEFINITIONS"


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownDefinition:
    """One definition as this process knows it. `is_registered`: from a module of this process, else from the database."""

    definition: Definition
    version: str
    is_registered: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedDefinitions:
    """The result of a load. `problems`: a sentence for each module or definition that was left out."""

    definitions: tuple[Definition, ...] = ()
    problems: tuple[str, ...] = ()


class Definitions:
    """The definitions of this process, then the definitions of the database. Modules are imported at the first use only."""

    def __init__(self, registry: Registry, store: DefinitionStore, settings: Settings) -> None:
        self._registry = registry
        self._store = store
        self._settings = settings
        self._env = settings.source_env  # the environment of this process' modules
        self._registered: dict[Pair, Definition] = {}
        self._is_loaded = False

    def load(self) -> LoadedDefinitions:
        """Import the modules of the allowed packages, register their definitions, and store them.

        A module that fails is left out and reported. So is a definition that no saga could start with, or that the
        database refuses, or that is the second of its actor and kind. All others are loaded.
        """
        problems: list[str] = []
        found: dict[Pair, Definition] = {}
        for module, definition in self._declared(problems):
            problem = self._problem(definition)
            if problem is not None:
                problems.append(f"{module}: {problem}")
                continue
            if found.setdefault(definition.pair, definition) != definition:
                actor = "" if definition.actor is None else f" of actor {definition.actor!r}"
                problems.append(
                    f"{module}: kind {definition.kind!r}{actor} must be defined once, got a second definition"
                )
        self._registered = found
        self._is_loaded = True
        for pair, definition in list(found.items()):
            try:
                self._store.put(definition, self._env)
            except OUTAGE:  # not the fault of one definition: the next one would only wait again
                raise
            except Exception as exc:  # noqa: BLE001 - one bad definition does not keep the others out
                del found[pair]
                problems.append(f"definition {definition.kind!r} must be one that can be stored, got: {exc}")
        for problem in problems:
            log.error("definition left out: %s", problem)
        return LoadedDefinitions(definitions=tuple(found.values()), problems=tuple(problems))

    def to_start(self, kind: str, actor_id: str | None, source_env: str | None) -> Definition:
        """The definition for a start of this kind: its actor's, else the one for any actor, else the only one of the kind.

        Where neither this process nor the database knows one, the modules of the allowed packages are loaded, once.
        For another environment than this process' own, only the database is asked.

        Raises:
            InvalidInput: there is no definition, or several actors have one and no actor was named.
        """
        if not isinstance(kind, str):
            raise InvalidInput(f"kind must be text, got a {type(kind).__name__}")
        known = {known.definition.pair: known.definition for known in self._known(source_env, [kind])}
        if not known and not self._is_loaded and source_env == self._env:
            self.load()
            known = {known.definition.pair: known.definition for known in self._known(source_env, [kind])}
        for pair in ((actor_id, kind), (None, kind)):
            if pair in known:
                return known[pair]
        if actor_id is None and len(known) == 1:
            return next(iter(known.values()))
        if actor_id is None and known:
            actors = ", ".join(sorted(str(actor) for actor, _ in known))
            raise InvalidInput(f"actor_id must name one of the actors of kind {kind!r}, got none", f"actors: {actors}")
        of_actor = "" if actor_id is None else f" for actor {actor_id!a:.80}"
        close = difflib.get_close_matches(kind, {one.definition.kind for one in self._known(source_env)}, n=1)
        hint = f"did you mean {close[0]!r}?" if close else "give the steps, or declare it: docs/writing-steps.md"
        raise InvalidInput(
            f"kind {kind!a:.80} must have a definition{of_actor} when no steps are given, got none", hint
        )

    def known(self, kinds: Sequence[str] | None = None) -> list[KnownDefinition]:
        """The current definitions, by kind and actor. A registered definition comes before the database's."""
        return self._known(self._env, kinds)

    def _known(self, source_env: str | None, kinds: Sequence[str] | None = None) -> list[KnownDefinition]:
        stored = {one.definition.pair: one for one in self._store.current(source_env, kinds)}
        found = {
            pair: KnownDefinition(definition=one.definition, version=one.version, is_registered=False)
            for pair, one in stored.items()
        }
        for pair, definition in self._here(source_env).items():
            if kinds is None or definition.kind in kinds:
                found[pair] = KnownDefinition(definition=definition, version=definition.version, is_registered=True)
        return sorted(found.values(), key=lambda one: (one.definition.kind, one.definition.actor or ""))

    def _here(self, source_env: str | None) -> Mapping[Pair, Definition]:
        return self._registered if source_env == self._env else {}

    def registered_policies(self, source_env: str | None, overriding: Iterable[Definition] = ()) -> Mapping[Pair, str]:
        """Policies of this process' definitions, by actor and kind. A policy in `overriding` comes first."""
        merged = {**self._here(source_env)} | {definition.pair: definition for definition in overriding}
        return {pair: one.recovery_policy for pair, one in merged.items() if one.recovery_policy is not None}

    def stored_policies(
        self, source_env: str | None, kinds: Sequence[str], connection: Connection | None = None
    ) -> Mapping[Pair, str]:
        """Policies of the database's definitions of these kinds, by actor and kind; read on `connection` if given."""
        current = (one.definition for one in self._store.current(source_env, kinds, connection))
        return {one.pair: one.recovery_policy for one in current if one.recovery_policy is not None}

    def _problem(self, definition: Definition) -> str | None:
        """Why no saga could start with this definition."""
        try:
            self._check(definition)
        except InvalidInput as exc:
            return exc.problem
        except Exception as exc:  # noqa: BLE001 - one bad definition does not keep the others out
            return f"a definition must be one that can be checked, got {type(exc).__name__}: {exc}"
        return None

    def _check(self, definition: Definition) -> None:
        definition.check(most_steps=self._settings.max_steps)
        most, size = self._settings.max_context_bytes, len(encoded(definition.frozen_steps))
        if size > most:
            raise InvalidInput(
                f"steps of definition {definition.kind!r} must be at most {most} bytes of JSON, got {size}"
            )
        for entry in definition.entries:
            self._registry.step(entry.step)

    def _declared(self, problems: list[str]) -> Iterator[tuple[str, Definition]]:
        for name in (*self._settings.step_packages, *self._registry.known()):
            try:
                exported = getattr(self._registry.module(name), EXPORT, ())
                declared = list(exported)
            except UnknownStep as exc:
                problems.append(f"{name}: {exc.problem}")
                continue
            except Exception as exc:  # noqa: BLE001 - one bad module does not keep the others out
                problems.append(f"{name}: {EXPORT} must be a list of Definition, got {type(exc).__name__}: {exc}")
                continue
            for definition in declared:
                if isinstance(definition, Definition):
                    yield name, definition
                else:
                    problems.append(f"{name}: {EXPORT} must hold Definition only, got a {type(definition).__name__}")
