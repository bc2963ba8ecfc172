"""The sagas of the demo: the task of each and the status it must end with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sagaworker.domain.status import RunStatus
from steps.tenants import OFFBOARD, PROVISION

NAP = 5.0  # long enough to be killed in the middle on a slow machine
LONG_NAP = 120.0  # never slept to its end: it is cancelled

_ECHO = "steps.echo"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One saga: the arguments of its start, and the status it must end with."""

    kind: str
    key: str
    steps: Sequence[str | Mapping[str, Any]]
    ends: RunStatus = RunStatus.COMPLETED
    inputs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The label in tables and in Flower."""
        return f"{self.kind}[{self.key}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cast:
    """All sagas of a run. `tag` keeps this run's keys and tenants apart from those of other runs on the same servers."""

    tag: str

    @property
    def hello(self) -> Part:
        return self._part("hello", [_ECHO, _ECHO, _ECHO])

    @property
    def refund(self) -> Part:
        return self._part("refund", [_ECHO, _ECHO, "steps.fail"], RunStatus.ROLLED_BACK)

    @property
    def report(self) -> Part:
        """The saga whose worker is killed while it naps."""
        return self._part("report", [_ECHO, {"step": "steps.nap", "params": {"seconds": NAP}}, _ECHO])

    @property
    def campaign(self) -> Part:
        """The saga that is cancelled while it naps."""
        nap = {"step": "steps.nap", "params": {"seconds": LONG_NAP}}
        return self._part("campaign", [_ECHO, nap, _ECHO], RunStatus.ROLLED_BACK)

    @property
    def acme(self) -> Part:
        return self._provision("acme", [*PROVISION])

    @property
    def initech(self) -> Part:
        return self._provision("initech", [*PROVISION])

    @property
    def globex(self) -> Part:
        """The saga that fails once it has made role, database and schema."""
        broken = {"step": "steps.fail", "params": {"message": "the payment of globex was declined"}}
        return self._provision("globex", [*PROVISION[:3], broken, *PROVISION[3:]], RunStatus.ROLLED_BACK)

    def offboard(self, provisioned: Part) -> Part:
        """The saga that removes a tenant again."""
        return Part(kind="offboard", key=provisioned.key, steps=[*OFFBOARD], inputs=provisioned.inputs)

    @property
    def opening(self) -> list[Part]:
        """The sagas that are sent first, all at once."""
        return [self.hello, self.refund, self.report, self.campaign, self.acme, self.initech, self.globex]

    def _part(self, kind: str, steps: Sequence[str | Mapping[str, Any]], ends: RunStatus = RunStatus.COMPLETED) -> Part:
        return Part(kind=kind, key=self.tag, steps=steps, ends=ends)

    def _provision(
        self, name: str, steps: Sequence[str | Mapping[str, Any]], ends: RunStatus = RunStatus.COMPLETED
    ) -> Part:
        tenant = f"{name}_{self.tag}"
        return Part(kind="tenant", key=tenant, steps=steps, ends=ends, inputs={"tenant": tenant})
