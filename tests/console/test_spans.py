"""The spans of a real walk: what the ledger writes and what the timeline reads are the same words."""

from sagaworker.console.spans import spans
from sagaworker.engine import Engine
from sagaworker.settings import Settings


def test_every_attempt_and_undo_of_a_real_walk_has_a_span(database_url):
    with Engine(Settings.from_env({}, database_url=database_url)) as engine:
        run = engine.start("t", ["steps.echo", "steps.echo", "steps.fail"])
        engine.run(run.id)
        found = [(span.step_idx, span.what) for span in spans(engine.timeline(run.id).journal)]
    assert found == [(0, "execute"), (1, "execute"), (2, "execute"), (1, "undo"), (0, "undo")]
