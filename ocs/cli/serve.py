"""`ocs serve`: run the daemon."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(
    "serve",
    epilog="\b\nExamples:\n  ocs serve --config /etc/ocs/ocs.toml\n  OCS__LOGGING__LEVEL=debug ocs serve",
)
@click.option("--config", envvar="OCS_CONFIG", type=click.Path(path_type=Path), help="Settings file.")
def serve(config: Path | None) -> None:
    """Run the daemon until SIGTERM. Calls stay up when it stops; SIGHUP reads settings and tariffs anew."""
    from gevent import monkey

    # Before anything that opens a socket is imported: one blocking socket kept by a module stops all calls.
    monkey.patch_all()
    from ocs.runtime import daemon

    raise click.exceptions.Exit(daemon.run(config))
