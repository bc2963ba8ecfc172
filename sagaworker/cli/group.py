"""The command group: what every command shares. Exit status 0 done, 1 refused or failed, 2 usage."""

from __future__ import annotations

import logging
from typing import Any

import click

from sagaworker.errors import SagaworkerError

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")


class Refused(click.ClickException):
    """Exit status 1 with a sentence on standard error."""

    exit_code = 1

    def show(self, file: Any = None) -> None:  # noqa: ARG002 - click's signature
        click.echo(f"{click.style('error:', fg='red', bold=True)} {self.message}", err=True)


class Commands(click.Group):
    """Shows the project's errors as the sentences they are, and what it logs as notes on standard error."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """In the order they were added: what is used first comes first."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        notes = _Notes()
        log = logging.getLogger("sagaworker")
        log.addHandler(notes)
        try:
            return super().invoke(ctx)
        except SagaworkerError as error:
            raise Refused(str(error)) from error
        finally:
            log.removeHandler(notes)


class _Notes(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(f"note: {record.getMessage()}", err=True)
