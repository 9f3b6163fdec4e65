"""What can be typed? The `ocs` command: names and one line each here, the code of each when it is called.

`ocs --help` is asked for often and must answer at once, so nothing here imports more than click. What went
wrong is told by the exit code too: see `ocs.cli.exits`.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Final, NoReturn

import click

from ocs.cli import exits
from ocs.errors import OcsError

COMMANDS: Final = {
    "account": ("accounts:group", "Accounts: create, show, list, top up, adjust, block, limits, PIN."),
    "call": ("calls:group", "Calls that are up: list, show, kill."),
    "card": ("pins:cards", "Calling cards: numbers that find an account."),
    "cdr": ("cdrs:group", "Call records: list and export."),
    "check": ("checks:check", "Prove that the books are right, or name the rows that are not."),
    "completion": ("completion:completion", "Print the completion script for a shell."),
    "config": ("config:group", "Settings: check the file, show what is in force."),
    "db": ("databases:group", "Database: create or upgrade the tables."),
    "ivr": ("ivr:group", "Menus of prepaid callers: prompts to record."),
    "lock": ("pins:locks", "Who must wait after wrong PINs or voucher codes; unlock."),
    "rate": ("rates:rate", "What would this call cost, how long may it last, and why?"),
    "serve": ("serve:serve", "Run the daemon."),
    "switch": ("switches:group", "Switches: the links and how they are."),
    "tariff": ("tariffs:group", "Tariffs: import, list, show, diff."),
    "user": ("users:group", "Users: add, import, list, passwd, move, block, remove."),
    "voucher": ("vouchers:group", "Vouchers: create, list, show, block, export, redeem."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called, not when help is written."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command; None if there is no such name."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(f"ocs.cli.{module}"), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Help from the table alone."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_line) for name, (_, help_line) in COMMANDS.items()])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog=exits.HELP,
)
@click.version_option(package_name="ocs", message="ocs %(version)s")
def cli() -> None:
    """Online charging for VoIP: hold credit while people talk, cut when it is gone, record it once.

    The commands talk to the running daemon over its control socket (or --url with a token). Every command
    knows --json for programs and -h for help with examples.
    """


def run(arguments: Sequence[str] | None = None) -> NoReturn:
    """The console script: errors become one line on standard error, what to do next, and an exit code."""
    try:
        code = cli.main(arguments, prog_name="ocs", standalone_mode=False)
        sys.stdout.flush()
        sys.exit(code if isinstance(code, int) else exits.OK)
    except click.ClickException as fault:
        fault.show()
        sys.exit(fault.exit_code)
    except click.exceptions.Exit as fault:
        sys.exit(fault.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped", err=True)
        sys.exit(130)
    except BrokenPipeError:
        # The reader (head, less) has enough. Point stdout elsewhere so that the interpreter's flush is quiet.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(exits.OK)
    except OcsError as fault:
        click.echo(f"ocs: {fault.message}", err=True)
        if fault.hint:
            click.echo(f"  {fault.hint}", err=True)
        sys.exit(exits.code_of(fault))


if __name__ == "__main__":
    run()
