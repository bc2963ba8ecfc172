"""Names of steps: nothing but a step of an allowed package is ever called, and a refusal is one sentence."""

import pytest

from sagaworker import InvalidInput, UnknownStep
from sagaworker.catalog.registry import Registry
from sagaworker.domain.status import RunStatus
from sagaworker.engine import Engine

P = "tests.attacks.odd_package."

REFUSED = [
    (P + "_private", "begins with an underscore"),
    (P + "_hidden.step", "begins with an underscore"),
    (P + "members:_Private", "begins with an underscore"),
    (P + "__main__", "must"),
    (P + "raises", "importable"),
    (P + "leaves", "importable"),
    (P + "cancels", "importable"),
    (P + "broken.step", "importable"),
    (P + "Itself", "must be a module this process can import"),
    (P + "itself.execute", "must be a module this process can import"),
    (P + "itself:execute", "function execute"),
    (P + "itself:itself", "defined in an allowed package"),
    (P + "members:datetime", "defined in an allowed package"),
    (P + "members:subprocess", "defined in an allowed package"),
    (P + "members:Connection", "defined in an allowed package"),
    (P + "members:Missing", "no member"),
    (P + "members:Raising", "no member"),
    (P + "members:NeedsArguments", "without arguments"),
    (P + "members:LeavesAtOnce", "without arguments"),
    (P + "members:EmptyName", "NAME"),
    (P + "members:NulName", "NAME"),
    (P + "members:SurrogateName", "NAME"),
    (P + "members:LongName", "NAME"),
    (P + "members:NanTimeout", "TIMEOUT"),
    (P + "members:ListInDoubt", "IN_DOUBT"),
    (P + "members:OddInputs", "Inputs"),
    (P + "members:Waiting", "max_delay"),
    ("steps.tenants", "function execute"),
    ("steps.echo:execute", "function execute"),
    ("steps.écho", "dotted module name"),
    ("steps.echo\n", "dotted module name"),
    ("steps..echo", "dotted module name"),
    (".steps.echo", "dotted module name"),
    ("steps.echo:a.b", "dotted module name"),
    ("stepsx.echo", "allowed package"),
]


@pytest.mark.parametrize(("name", "said"), REFUSED)
def test_a_name_that_is_no_step_is_refused_in_one_sentence(requests, name, said):
    with pytest.raises(InvalidInput, match=said) as refused:
        requests.checked("t", [name])
    assert len(str(refused.value)) < 1000
    str(refused.value).encode()


def test_a_module_that_imports_itself_and_a_borrowed_step_are_steps(engine):
    for name in (P + "itself", P + "members:Borrowed"):
        assert engine.run(engine.start("t", [name]).id).status is RunStatus.COMPLETED


def test_no_private_module_and_none_of_a_broken_package_is_known_and_none_breaks_the_list(engine):
    known = engine.registry.known()
    assert {P + "itself", "steps.echo"} <= set(known)
    assert not [name for name in known if "._" in name or name.startswith(P + "broken")]


@pytest.mark.parametrize("package", ["no_such_package", "no_such.package", "tests.attacks.odd_package.broken"])
def test_an_allowed_package_that_is_not_there_does_not_spoil_the_hint(settings, package):
    registry = Registry(settings.replace(step_packages=(package, "steps")))
    with pytest.raises(UnknownStep, match=r"did you mean steps\.echo"):
        registry.step("steps.eco")
    assert "steps.echo" in registry.known()


def test_a_module_that_goes_missing_after_the_start_strands_its_saga_and_no_other(engine, settings):
    run, other = engine.start("t", [P + "itself"]), engine.start("t", ["steps.echo"])
    with Engine(settings.replace(step_packages=("steps",))) as narrow:
        assert narrow.run(run.id).status is RunStatus.PENDING
        assert narrow.run(other.id).status is RunStatus.COMPLETED
    assert engine.run(run.id).status is RunStatus.COMPLETED
