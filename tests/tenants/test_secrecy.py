"""The password is nowhere; neither is what it is made from, nor the admin's."""

from __future__ import annotations

import base64
import json
import re
import traceback
from collections.abc import Callable
from contextlib import suppress

import psycopg
import pytest

from sagaworker import StepFailed
from steps.tenants import OFFBOARD, PROVISION, RESUME, SUSPEND, password_for
from tests.tenants.sagas import Saga, provisioned
from tests.tenants.secrecy import assert_nowhere
from tests.tenants.target import Target

CREATE_ROLE, VERIFY_LOGIN = PROVISION[0], PROVISION[3]


def told(act: Callable[..., object], *arguments: object) -> str:
    """All that an exception would bring into a ledger or a log, its causes and contexts included."""
    with pytest.raises(Exception) as raised:
        act(*arguments)
    texts = traceback.format_exception(raised.value)
    seen: BaseException | None = raised.value
    while seen is not None:
        texts += [repr(seen), str(seen), repr(getattr(seen, "details", "")), repr(seen.args)]
        seen = seen.__context__
    return "\n".join(texts)


def test_no_secret_is_put_out_raised_or_logged_in_the_life_of_a_tenant(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    sagas = [provisioned("acme"), Saga("acme").walk(SUSPEND), Saga("acme").walk(RESUME)]
    errors = [told(Saga("acme").execute, step) for step in PROVISION]
    sagas.append(Saga("acme").walk(OFFBOARD))
    errors += [told(Saga("acme").execute, step) for step in (*SUSPEND, *RESUME, *OFFBOARD[:1], *PROVISION[1:])]
    half = Saga("acme").walk(PROVISION[:3])
    passwords = [password_for("acme", rotation) for rotation in (0, 1, 2)]
    with monkeypatch.context() as patch:
        patch.setenv("TENANT_SECRET", "another secret of good length")
        passwords.append(password_for("acme"))
        errors.append(told(half.execute, VERIFY_LOGIN))
    admin = psycopg.conninfo.conninfo_to_dict(target.url)["password"]
    log = target.log()
    assert b"CREATE ROLE" in log
    assert b"SCRAM-SHA-256$4096:" in log, "the verifier is what the server is told"
    sources = {
        "outputs": json.dumps([saga.outputs for saga in [*sagas, half]]),
        "errors": "\n".join(errors),
        "server": repr(target.world("acme")),
    }
    assert_nowhere([*passwords, target.secret, str(admin)], sources)
    # The fixture set the admin's own password by a statement; the steps' secrets are nowhere.
    assert_nowhere([*passwords, target.secret], {"server log": log})


def test_server_stores_a_scram_verifier(target: Target) -> None:
    provisioned("acme")
    with target.connect() as admin:
        stored = admin.execute("SELECT rolpassword FROM pg_authid WHERE rolname = 'tenant_acme'").fetchall()[0][0]
    assert re.fullmatch(r"SCRAM-SHA-256\$4096:[\w+/=]+\$[\w+/=]+:[\w+/=]+", stored)


@pytest.mark.parametrize("secret", [None, "", "x" * 15])
def test_missing_or_short_secret_is_refused_and_nothing_is_done(
    secret: str | None, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TENANT_SECRET")
    if secret is not None:
        monkeypatch.setenv("TENANT_SECRET", secret)
    before = target.world("acme")
    with pytest.raises(StepFailed, match="TENANT_SECRET must be at least 16 bytes, got"):
        Saga("acme").execute(CREATE_ROLE)
    assert target.world("acme") == before


@pytest.mark.usefixtures("target")
def test_password_depends_on_secret_name_and_rotation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENANT_SECRET", "0123456789abcdef")
    words = [password_for("a"), password_for("a", 2), password_for("b"), password_for("a1"), password_for("a", 11)]
    monkeypatch.setenv("TENANT_SECRET", "0123456789abcdeg")
    words.append(password_for("a"))
    assert len(set(words)) == len(words)
    assert {len(word) for word in words} == {43}
    assert password_for("a") == password_for("a", 1)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "postgres:/admin:hidden-word@127.0.0.1/x",
        "postgresql+psycopg://admin:hidden-word@127.0.0.1/x",
        "postgresql://admin:hid/hidden-word@127.0.0.1/x",
        "postgresql://admin:hid@hidden-word@127.0.0.1/x",
        "postgresql://admin:%zzhidden-word@127.0.0.1/x",
        "postgresql://admin@127.0.0.1:hidden-word/x",
        "host=127.0.0.1 password=hid hidden-word",
        "hidden-word",
    ],
)
def test_url_that_cannot_be_used_is_refused_without_being_quoted(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENANTS_DATABASE_URL", url)
    monkeypatch.setenv("TENANT_SECRET", "x" * 16)
    text = told(Saga("acme").execute, CREATE_ROLE)
    assert "TENANTS_DATABASE_URL must be a PostgreSQL URL" in text
    assert_nowhere(["hidden-word"], {"error": text})


@pytest.mark.parametrize("word", ["hid?hidden-word", "hid#hidden-word", "hid:hidden-word", "hid%40hidden-word"])
def test_failed_connection_does_not_quote_the_admins_password(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENANTS_DATABASE_URL", f"postgresql://admin:{word}@127.0.0.1:1/x")
    monkeypatch.setenv("TENANT_SECRET", "x" * 16)
    text = told(Saga("acme").execute, CREATE_ROLE)
    assert "connection failed" in text
    assert_nowhere(["hidden-word"], {"error": text})


@pytest.mark.parametrize(
    "hidden",
    [
        "s3cret/+word=",
        b"s3cret/+word=".hex(),
        "s3cret%2F%2Bword%3D",
        *(base64.b64encode(lead + b"s3cret/+word=" + b"tail").decode() for lead in (b"", b"1", b"12", b"123")),
        *(base64.urlsafe_b64encode(lead + b"s3cret/+word=").decode() for lead in (b"", b"1", b"12")),
    ],
)
def test_secret_is_found_in_every_form_it_may_hide_in(hidden: str) -> None:
    with pytest.raises(AssertionError, match="in journal at byte"):
        assert_nowhere(["s3cret/+word="], {"ledger": b"nothing", "journal": f'{{"a": "{hidden}"}}'})
    with suppress(AssertionError):
        assert_nowhere(["s3cret/+word="], {"journal": hidden})
        pytest.fail("it must be found")
    assert_nowhere(["s3cret/+word="], {"journal": "another s3cret word"})
