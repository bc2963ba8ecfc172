"""Who a tenant is: its inputs, the names derived from them, and its password. Nothing here touches a server."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
from dataclasses import dataclass
from typing import cast

from sagaworker import InvalidInput, SagaState, StepFailed

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_RESERVED = frozenset({"postgres", "public", "template0", "template1", "none"})
_LEAST_SECRET = 16
_MOST_ROTATION = 1_000_000
_SHOWN = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What every tenant saga needs; checked when a saga starts and again by each step.

    Attributes:
        tenant: its name: a to z, 0 to 9 and _, beginning with a letter, at most 40; not a name PostgreSQL reserves.
        rotation: number of the tenant's password; another number is another password.

    Raises:
        InvalidInput: (a ValueError) one of them is something else.
    """

    tenant: str
    rotation: int = 1

    def __post_init__(self) -> None:
        name: object = self.tenant
        # fullmatch: `$` would let a newline at the end pass.
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise InvalidInput(
                f"tenant must be 1 to 40 of a-z, 0-9 and _ beginning with a letter, got {_shown(name)}",
                "give the tenant a name of that form, and keep its display name elsewhere",
            )
        if name in _RESERVED or name.startswith("pg_"):
            raise InvalidInput(f"tenant must be no name that PostgreSQL reserves, got {name!r}", "choose another name")
        number: object = self.rotation
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= _MOST_ROTATION:
            raise InvalidInput(f"rotation must be a whole number from 0 to {_MOST_ROTATION}, got {_shown(number)}")

    @property
    def role(self) -> str:
        """Name of the tenant's role; its database and its schema are called the same.

        A schema with the name of the role comes first in PostgreSQL's default search_path.
        """
        return f"tenant_{self.tenant}"

    @property
    def attic(self) -> str:
        """Name of its database between archiving and dropping; no tenant's role or database can be called so."""
        return f"attic_{self.role}"


def tenant_of(state: SagaState) -> Inputs:
    """The inputs of this saga, checked.

    Raises:
        StepFailed: they are not legal; nothing was done.
    """
    # A saga may have been started by code that did not ask the Inputs type first.
    name, rotation = state.get_input("tenant"), state.get_input("rotation", 1)
    try:
        return Inputs(tenant=cast("str", name), rotation=cast("int", rotation))
    except InvalidInput as refused:
        problem = str(refused)
    raise StepFailed(problem)


def password_for(tenant: str, rotation: int = 1) -> str:
    """Derive a tenant's password: HMAC-SHA256 of its name and the rotation number under TENANT_SECRET.

    It is stored nowhere: whoever has the secret derives it again. The same arguments give the same 43 characters.

    Raises:
        StepFailed: TENANT_SECRET is missing or shorter than 16 bytes; nothing was done.
        InvalidInput: the name or the number is not legal.
    """
    who = Inputs(tenant=tenant, rotation=rotation)
    secret = os.environ.get("TENANT_SECRET", "").encode("utf-8", "surrogateescape")
    if len(secret) < _LEAST_SECRET:
        raise StepFailed(
            f"TENANT_SECRET must be at least {_LEAST_SECRET} bytes, got {len(secret)}\n"
            "set it in the worker's environment, the same for every worker"
        )
    # No legal name holds a newline, so no two pairs give the same message.
    message = f"sagaworker tenant password\n{who.tenant}\n{who.rotation}".encode()
    return base64.urlsafe_b64encode(hmac.digest(secret, message, hashlib.sha256)).decode().rstrip("=")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({len(text)} characters)"
