"""Whose sagas a sweeper minds: its stack's and those of none, exactly its environment's; defaults from the settings."""

import pytest

from tests.recovery.abandoned import another, execute, orphan


@pytest.fixture
def three(engine):
    """Orphans of stack a, of stack b and of none."""
    return {stack: orphan(engine, source_stack=stack).id for stack in ("a", "b", None)}


@pytest.fixture
def envs(engine):
    """Orphans of env prod, of env test and of none."""
    return {env: orphan(engine, source_env=env).id for env in ("prod", "test", None)}


def taken(engine):
    return {run.id for run in engine.list() if run.recoveries}


def test_stack_takes_its_own_and_null_but_not_foreign(engine, three):
    assert engine.sweep(source_stack="a").restarted == 2
    assert taken(engine) == {three["a"], three[None]}
    engine.sweep()


def test_stack_defaults_to_the_settings(engine, three):
    with another(engine, source_stack="b") as other:
        assert other.sweep().restarted == 2
    assert taken(engine) == {three["b"], three[None]}
    engine.sweep()


def test_explicit_none_takes_all_stacks(engine, three):
    with another(engine, source_stack="b") as other:
        assert other.sweep(source_stack=None).restarted == 3
    assert taken(engine) == set(three.values())


def test_named_env_takes_only_its_own_and_not_null(engine, envs):
    assert engine.sweep(source_env="prod").restarted == 1
    assert taken(engine) == {envs["prod"]}
    engine.sweep(source_env="test")
    engine.sweep()


def test_unset_env_takes_only_null(engine, envs):
    assert engine.sweep().restarted == 1
    assert taken(engine) == {envs[None]}
    engine.sweep(source_env="test")
    engine.sweep(source_env="prod")


def test_env_defaults_to_the_settings(engine, envs):
    with another(engine, source_env="test") as other:
        assert other.sweep().restarted == 1
    assert taken(engine) == {envs["test"]}
    engine.sweep(source_env="prod")
    engine.sweep()


def test_start_stamps_stack_and_env_from_the_settings(engine):
    with another(engine, source_stack="a", source_env="prod") as other:
        run = other.start("t", ["steps.echo"])
        assert (run.source_stack, run.source_env) == ("a", "prod")
        assert other.get(run.id).source_stack == "a"


def test_start_leaves_the_callers_stack_and_env(engine):
    with another(engine, source_stack="a", source_env="prod") as other:
        run = other.start("t", ["steps.echo"], source_stack="mine", source_env=None)
        found = other.get(run.id)
        assert (found.source_stack, found.source_env) == ("mine", None)


def test_start_without_settings_leaves_both_null(engine):
    run = engine.get(engine.start("t", ["steps.echo"]).id)
    assert (run.source_stack, run.source_env) == (None, None)


def test_a_sweeper_rings_no_doorbell_of_a_foreign_stack_or_env(engine, rung):
    runs = {
        (stack, env): engine.start("t", ["steps.echo"], source_stack=stack, source_env=env).id
        for stack in ("a", "b", None)
        for env in ("prod", None)
    }
    execute(engine, "UPDATE saga_runs SET wake_at = now() - interval '1 second'")
    rung.clear()
    with another(engine, rung, source_stack="a", source_env="prod") as other:
        assert other.ring_due() == 2
    assert set(rung) == {runs["a", "prod"], runs[None, "prod"]}
    rung.clear()
    assert engine.ring_due() == 3
    assert set(rung) == {runs["a", None], runs["b", None], runs[None, None]}
    with another(engine, source_env="prod") as other:
        other.ring_due()


def test_beats_of_different_scopes_do_not_take_each_others_turn(engine, three):
    with another(engine, source_stack="a") as one, another(engine, source_stack="b") as two:
        assert (one.sweep_tick().restarted, two.sweep_tick().restarted) == (2, 1)
