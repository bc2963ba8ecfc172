"""Sagaworker's changes to Flower. `sagaworker.flower.config` is the file that Flower reads."""

from __future__ import annotations

from typing import Any

from flower.events import PrometheusMetrics


def bound_metrics() -> None:
    """Label Flower's metrics by kind. Flower's own label is the task's display name, which differs for every saga."""
    observe = PrometheusMetrics.observe_task
    if observe.__module__ == __name__:
        return  # Flower may read its configuration twice

    def by_kind(self: PrometheusMetrics, worker: str, event: dict[str, Any], task: Any) -> None:
        name = str(event.get("name") or task.name or "")
        observe(self, worker, {**event, "name": name.partition("[")[0]}, task)

    PrometheusMetrics.observe_task = by_kind
