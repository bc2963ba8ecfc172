"""Text for a failing assertion: the whole record of a saga."""

from __future__ import annotations


def timeline(engine, saga_id):
    """The saga's timeline as text."""
    found = engine.timeline(saga_id)
    run = found.run
    lines = [f"{run.label} {run.id}: {run.status} waiting_for={run.waiting_for} fence={run.fence} error={run.error}"]
    lines += [
        f"  step {s.step_idx} {s.step_name}: {s.status} attempts={s.attempts} in_doubt={s.in_doubt}"
        f" recoveries={s.recoveries} undo={s.compensation_attempts}/{s.compensation_recoveries}"
        f" output={s.output} error={s.error}"
        for s in found.steps
    ]
    lines += [f"  episode {e.fence}: {e.outcome} {e.started_at} to {e.ended_at}" for e in found.episodes]
    lines += [f"  {e.seq} {e.type} {e.step_idx} {dict(e.data)}" for e in found.journal]
    return "\n".join(lines)
