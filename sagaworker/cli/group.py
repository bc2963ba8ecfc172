"""The command group, shared by all commands. Exit status 0 done, 1 refused or failed, 2 usage."""

from __future__ import annotations

import errno
import getpass
import importlib
import logging
import os
from typing import Any

import click

from sagaworker.console.words import visible_lines
from sagaworker.errors import SagaworkerError

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")


def _patience(ctx: click.Context, param: click.Parameter, seconds: float) -> float:
    if not seconds >= 0:  # nan too: that wait would never end
        raise click.BadParameter(f"must be a number of seconds from 0 up, got {seconds:g}", ctx, param)
    return seconds


timeout_option = click.option(
    "--timeout", type=float, default=300.0, show_default=True, callback=_patience, help="Seconds to wait at most."
)


def login() -> str:
    """The login name of the person at this terminal, as far as the machine knows."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return ""


who_option = click.option("--who", default=login, show_default="your login name", help="Who decides.")


class Refused(click.ClickException):
    """Exit status 1 with a sentence on standard error."""

    exit_code = 1

    def show(self, file: Any = None) -> None:  # noqa: ARG002 - click's signature
        click.echo(f"{click.style('error:', fg='red', bold=True)} {visible_lines(self.message)}", err=True)


def unusable(problem: OSError) -> Refused:
    """The error for a file that the system does not let us use. A file without a name is the output."""
    name = os.fsdecode(problem.filename) if isinstance(problem.filename, str | bytes) else "the output"
    return Refused(f"{name} must be usable by this command, got: {problem.strerror or problem}")


def _is_text(argument: str) -> bool:
    try:
        argument.encode()
    except UnicodeEncodeError:
        return False
    return True


class Later(click.Command):
    """A command's line in the help. The command itself, and all it needs, is imported when somebody calls it."""

    def __init__(self, name: str, where: str, *, help: str) -> None:
        super().__init__(name, help=help)
        self._where = where

    def imported(self) -> click.Command:
        module, _, attribute = self._where.partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command


class Commands(click.Group):
    """Shows the project's errors as plain sentences, and log records as notes on standard error."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """In the order in which they were added, which is the order of first use."""
        return list(self.commands)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        command = super().get_command(ctx, cmd_name)
        return command.imported() if isinstance(command, Later) else command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's
        """Format the commands as click does, without importing them."""
        room = formatter.width - 6 - max(map(len, self.commands))
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.get_short_help_str(room)) for name, command in self.commands.items()])

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Refuse arguments that are not valid text: the shell hands over any bytes, and no ledger stores those."""
        for argument in args:
            if not _is_text(argument):
                raise Refused(f"argument {argument!r} must be text, got bytes that are no UTF-8\nwrite it in UTF-8")
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        notes = _Notes()
        log = logging.getLogger("sagaworker")
        log.addHandler(notes)
        try:
            return super().invoke(ctx)
        except SagaworkerError as error:
            raise Refused(str(error)) from error
        except OSError as problem:
            if problem.errno == errno.EPIPE:
                raise  # the reader has gone; click then exits silently
            raise unusable(problem) from problem
        finally:
            log.removeHandler(notes)


class _Notes(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(f"note: {visible_lines(record.getMessage())}", err=True)
