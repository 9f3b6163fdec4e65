"""Two daemons in processes of their own: one is killed, the other settles each of its calls once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.end_to_end.rig import rig
from tests.end_to_end.test_kill import ACCOUNTS, SEED, compare_with_truth
from tests.servers import PostgresServer


@pytest.mark.timeout(180)
def test_another_daemon_takes_over_the_calls_of_one_that_is_killed(
    tmp_path: Path, postgresql_server: PostgresServer, redis_url: str
) -> None:
    url = postgresql_server.fresh()
    with rig(tmp_path, url, slice_s=20, first_slice_s=20, lead_s=10, cdr_wait_s=3) as made:
        made.settings["redis"] = {"url": redis_url}
        made.open_accounts(ACCOUNTS, "0.25")
        made.start_switch(
            "--calls", "120", "--per-s", "10", "--accounts", ",".join(ACCOUNTS),
            "--talk-ms", "500-9000", "--cdr-dir", str(made.cdrs), "--seed", str(SEED),
        )  # fmt: skip
        made.settings["daemon"].update(name="a", lease_s=3)
        made.start_daemon()
        first = made.daemon
        made.until(lambda: made.truth_file.exists(), "the switch writes the truth")
        made.socket = tmp_path / "b.sock"
        made.settings["daemon"].update(name="b", control_socket=str(made.socket))
        made.start_daemon()
        made.until(lambda: made.truth()["placed"] >= 60, "calls")
        assert {lease.owner for lease in made.rows("leases")} == {"a"}
        assert first is not None
        first.kill()
        made.until(lambda: {lease.owner for lease in made.rows("leases")} == {"b"}, "the take-over")
        made.until(lambda: made.switch is not None and made.switch.poll() is not None, "all calls end", 60)
        made.until(lambda: not [c for c in made.rows("calls") if c.state != "closed"], "settling", 60)
        compare_with_truth(made)
    postgresql_server.drop(url)
