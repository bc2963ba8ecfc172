"""Requests: the arguments of a start, checked before the ledger is asked or written."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import uuid_utils.compat

from sagaworker.catalog.registry import Registry
from sagaworker.catalog.step import check_inputs
from sagaworker.domain import steplist
from sagaworker.domain.definition import ON_FAILURE, POLICIES, Definition
from sagaworker.domain.options import (
    HIGHEST_PRIORITY,
    MAX_NAME,
    MAX_RECOVERIES,
    checked_integer,
    checked_queue,
    checked_text,
    checked_word,
)
from sagaworker.domain.values import Json, canonical_hash, checked_object, encoded
from sagaworker.errors import InvalidInput
from sagaworker.ledger.starts import NewRun
from sagaworker.settings import Settings

OPTIONS = (
    "actor_id",
    "recovery_policy",
    "max_recoveries",
    "on_compensation_failure",
    "mode",
    "attributes",
    "queue",
    "priority",
    "deadline",
    "trigger_type",
    "trigger_ref",
    "conversation_id",
    "source_stack",
    "source_env",
)
Value = TypeVar("Value", dict[str, Json], list[Json])
MAX_KEY = 500
MAX_KIND_AND_KEY_BYTES = 2500  # bytes: a row of their unique index may have 2,704 with its overhead


class Requests:
    """Turns the arguments of `start` into a row, or refuses them with one sentence."""

    def __init__(self, settings: Settings, registry: Registry) -> None:
        self._settings = settings
        self._registry = registry

    def checked(
        self,
        kind: str,
        steps: Sequence[str | Mapping[str, Any]],
        *,
        inputs: Mapping[str, Any] | None = None,
        key: str | None = None,
        definition: Definition | None = None,
        **options: Any,
    ) -> NewRun:
        """The run to store. The list is frozen as it is now; this process must be able to load each step of the list.

        With `definition`, the source of the list, the run is pinned to its version; given options override the definition's.
        """
        _refuse_unknown(options)
        if definition is not None:
            options = _options_of(definition) | options
        given = {name: value for name, value in options.items() if value is not None}
        entries = steplist.parse(steps, most=self._settings.max_steps)
        loaded = [self._registry.step(entry.step) for entry in entries]
        checked = self._inputs(inputs)
        for step in loaded:
            check_inputs(step, checked, within=self._registry.import_bound)
        actor_id = _text(given.get("actor_id"), "actor_id", MAX_NAME)
        source_env = self.source_env(options)
        return NewRun(
            id=str(uuid_utils.compat.uuid7()),
            kind=checked_text(kind, "kind", MAX_NAME),
            key=_key(kind, key, source_env),
            step_modules=self._limited([entry.frozen for entry in entries], "step list"),
            inputs=checked,
            inputs_hash=canonical_hash(checked),
            actor_id=actor_id,
            recovery_policy=self._policy(given, actor_id),
            max_recoveries=_integer(given, "max_recoveries", 0, MAX_RECOVERIES, self._settings.max_recoveries),
            on_compensation_failure=_one_of(given, "on_compensation_failure", ON_FAILURE, "continue"),
            mode=_one_of(given, "mode", ("live",), "live"),
            trigger_type=_text(given.get("trigger_type"), "trigger_type", MAX_NAME),
            trigger_ref=self._object(given, "trigger_ref"),
            conversation_id=_text(given.get("conversation_id"), "conversation_id", MAX_NAME),
            attributes=self._object(given, "attributes"),
            queue=None if given.get("queue") is None else checked_queue(given["queue"], "queue"),
            priority=_integer(given, "priority", 0, HIGHEST_PRIORITY, None),
            source_stack=_stamp(options, "source_stack", self._settings.source_stack),
            source_env=source_env,
            deadline_at=_deadline(given.get("deadline")),
            definition_version=None if definition is None else definition.version,
        )

    def source_env(self, options: Mapping[str, Any]) -> str | None:
        """The environment for which a run is started."""
        return _stamp(options, "source_env", self._settings.source_env)

    def _inputs(self, inputs: Mapping[str, Any] | None) -> dict[str, Json]:
        return self._limited(checked_object({} if inputs is None else inputs, "inputs"), "inputs")

    def _object(self, given: Mapping[str, Any], name: str) -> dict[str, Json] | None:
        return self._limited(checked_object(given[name], name), name) if name in given else None

    def _limited(self, value: Value, name: str) -> Value:
        size = len(encoded(value))
        if size > self._settings.max_context_bytes:
            raise InvalidInput(
                f"{name} must be at most {self._settings.max_context_bytes} bytes of JSON, got {size}",
                "store the large value elsewhere and pass a reference to it",
            )
        return value

    def _policy(self, given: Mapping[str, Any], actor_id: str | None) -> str | None:
        """The policy to record: an actor's run without a given policy leaves the choice to its definition."""
        if "recovery_policy" in given:
            return _one_of(given, "recovery_policy", POLICIES, "")
        return None if actor_id is not None else self._settings.recovery_policy


def _options_of(definition: Definition) -> dict[str, Any]:
    """A definition's options for its runs. Not the policy: it is looked up in the definition when an orphan needs it."""
    limits = {} if definition.max_recoveries is None else {"max_recoveries": definition.max_recoveries}
    return {"actor_id": definition.actor, **definition.options, **limits}


def _refuse_unknown(options: Mapping[str, Any]) -> None:
    for name in options:
        if name not in OPTIONS:
            close = difflib.get_close_matches(name, OPTIONS, n=1)
            raise InvalidInput(
                f"option {name[:80]!a} is unknown: options are {', '.join(OPTIONS)}",
                f"did you mean {close[0]}?" if close else "",
            )


def _text(value: object, name: str, most: int) -> str | None:
    return None if value is None else checked_text(value, name, most)


def _key(kind: str, key: object, source_env: str | None) -> str | None:
    """Check the key's length in characters, as a person counts, and in bytes, as the index on kind, key and environment does."""
    text = _text(key, "key", MAX_KEY)
    size = 0 if text is None else len(kind.encode()) + len(text.encode()) + len((source_env or "").encode())
    if size > MAX_KIND_AND_KEY_BYTES:
        raise InvalidInput(
            f"kind, key and source_env must be at most {MAX_KIND_AND_KEY_BYTES} bytes of UTF-8 together, got {size}",
            "give a shorter key, or its hash",
        )
    return text


def _one_of(given: Mapping[str, Any], name: str, legal: Sequence[str], default: str) -> str:
    return checked_word(given.get(name, default), name, legal)


def _integer(given: Mapping[str, Any], name: str, least: int, most: int, default: int | None) -> Any:
    value = given.get(name, default)
    return None if value is None else checked_integer(value, name, least, most)


def _stamp(options: Mapping[str, Any], name: str, default: str | None) -> str | None:
    """The origin of a run: the caller's value, also an explicit None, else the settings'."""
    return _text(options[name], name, MAX_NAME) if name in options else default


def _deadline(value: object) -> str | None:
    """When the run times out, as ISO 8601 text in UTC. Durations count from this machine's clock."""
    if value is None:
        return None
    try:
        # PostgreSQL knows fewer zones than Python, so it gets the instant in UTC.
        return _instant(value).astimezone(UTC).isoformat()
    except (ValueError, OverflowError):
        raise InvalidInput(
            f"deadline must be an aware datetime, a timedelta or seconds, got {ascii(value)[:80]}"
        ) from None


def _instant(value: object) -> datetime:
    match value:
        case int() | float() if not isinstance(value, bool):
            return datetime.now(UTC) + timedelta(seconds=value)
        case timedelta():
            return datetime.now(UTC) + value
        case str():
            return _instant(datetime.fromisoformat(value))
        case datetime() if value.tzinfo is not None:
            return value
        case _:
            raise ValueError
