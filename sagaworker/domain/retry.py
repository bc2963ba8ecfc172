"""Retry policies: how often and how far apart one step, or one undo, is tried."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sagaworker.errors import InvalidInput, StepFailed

MOST = 366 * 86_400  # seconds: longer waits are a mistake, and the database cannot hold every such time


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Up to `max_attempts` attempts; before attempt n+1 wait `base * factor ** (n - 1)` seconds, at most `max_delay`.

    With `jitter` the wait is drawn evenly between half of that time and all of it, so that a thousand sagas that failed
    together do not return together ("equal jitter", Marc Brooker, Exponential Backoff And Jitter, 2015).

    `retry_on` names exception classes. The default is every exception but `StepFailed`. `StepFailed` says that nothing
    happened and nothing will, so it is retried only if it, or a class derived from it, is listed.

    >>> RetryPolicy(max_attempts=3, base=0.5, jitter=False).delay(2, 0.0)
    1.0
    """

    max_attempts: int = 1
    base: float = 1.0
    factor: float = 2.0
    max_delay: float = 3600.0
    jitter: bool = True
    retry_on: Sequence[type[BaseException]] = (BaseException,)

    def __post_init__(self) -> None:
        if isinstance(self.max_attempts, bool) or not isinstance(self.max_attempts, int) or self.max_attempts < 1:
            raise InvalidInput(f"max_attempts must be a whole number of at least 1, got {self.max_attempts!r}")
        for name, least in (("base", 0.0), ("factor", 1.0), ("max_delay", 0.0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= MOST:
                raise InvalidInput(f"{name} must be a number from {least:g} to {MOST}, got {value!r}")
        classes = self.retry_on if isinstance(self.retry_on, (tuple, list)) else (self.retry_on,)
        if not all(isinstance(c, type) and issubclass(c, BaseException) for c in classes):
            raise InvalidInput(f"retry_on must be a tuple of exception classes, got {self.retry_on!r}")
        object.__setattr__(self, "retry_on", tuple(classes))

    def covers(self, exception: BaseException) -> bool:
        """Whether this exception is to be retried."""
        if isinstance(exception, StepFailed):
            return any(issubclass(c, StepFailed) and isinstance(exception, c) for c in self.retry_on)
        return issubclass(type(exception), tuple(self.retry_on))

    def delay(self, attempts: int, draw: float) -> float:
        """Seconds to wait after `attempts` attempts; `draw` in [0, 1) comes from the caller, so this stays pure."""
        try:
            full = min(self.max_delay, self.base * self.factor ** (attempts - 1))
        except OverflowError:
            full = self.max_delay
        return full * (0.5 + 0.5 * draw) if self.jitter else full


ONCE = RetryPolicy()
UNDO_DEFAULT = RetryPolicy(max_attempts=5, base=1.0, factor=2.0)
