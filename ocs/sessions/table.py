"""What happens next in a call? The whole machine: (state, event) -> (session, steps). Pure.

`python -m ocs.sessions.table` prints it. Its rows stand in a file a state, named as that is; who imports
`react` from here has them all. A pair that is not there is loud (`unexpected`) and leaves the session as it
was. Timers are not steps: `ocs.sessions.timers` derives them from the session after every reaction: none
can be forgotten or left behind.

The ledger's outcomes come back as events of their own (Granted, Refused, Settled, LedgerUnavailable).
"""

from __future__ import annotations

from ocs.sessions import asking, in_doubt, metered, ringing, settling, talking
from ocs.sessions.machine import ROWS, describe, react

__all__ = ["ROWS", "WITH_ROWS", "describe", "react"]

WITH_ROWS = (asking, ringing, talking, in_doubt, metered, settling)
"""The files that have rows, in the order of a call's life."""

if __name__ == "__main__":
    print(describe())
