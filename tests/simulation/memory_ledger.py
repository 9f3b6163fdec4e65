"""A ledger without a disk: the pure decisions on one batch that lives as long as the test.

A twin of `db.committer.Committer` (test_memory_ledger.py runs the same contract on both). It lets other
greenlets run before and after each decision, as a commit does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any

import gevent
import orjson

from ocs.ledger.batch import Batch
from ocs.ledger.decide import decide
from ocs.ledger.model import AddAllowance, Command, Outcome, Redeem


class MemoryLedger:
    """`ocs.ports.Ledger` over one `Batch`."""

    def __init__(self, batch: Batch | None = None) -> None:
        self.batch = batch or Batch()
        self._allowance_ids = count(1)

    def submit(self, command: Command) -> Outcome:
        """Decide and keep. Raises what the decision raises; nothing is changed then."""
        gevent.sleep(0)
        outcome = self.decide(command)
        gevent.sleep(0)
        return outcome

    def decide(self, command: Command) -> Outcome:
        """The same without giving way to others."""
        if isinstance(command, AddAllowance | Redeem) and not self.batch.fresh_allowance_ids:
            self.batch.fresh_allowance_ids = [next(self._allowance_ids)]
        return decide(self.batch, command)

    def open_snapshots(self, switch: str) -> Iterator[Mapping[str, Any]]:
        """Sessions of this switch's calls that are not closed, as a database gives them back."""
        for row in list(self.batch.call_rows.values()):
            if row["switch"] == switch and row["state"] != "closed":
                yield orjson.loads(orjson.dumps(row["snapshot"]))

    def last_snapshot(self, switch: str, channel: str) -> Mapping[str, Any] | None:
        """The newest session of a channel, or None."""
        found = [
            row
            for row in self.batch.call_rows.values()
            if (row["switch"], row["channel"]) == (switch, channel)
        ]
        return orjson.loads(orjson.dumps(found[-1]["snapshot"])) if found else None
