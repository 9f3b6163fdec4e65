"""`ocs completion`: the script that lets a shell complete commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command(
    "completion",
    epilog="\b\nExamples:\n"
    "  ocs completion bash > /etc/bash_completion.d/ocs\n"
    "  ocs completion zsh > ~/.zfunc/_ocs\n"
    "  ocs completion fish > ~/.config/fish/completions/ocs.fish",
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script for a shell."""
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(ctx.find_root().command, {}, "ocs", "_OCS_COMPLETE").source())
