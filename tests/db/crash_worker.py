"""A process to be killed: calls ask, extend and end without pause; every yes is told on standard output.

python -m tests.db.crash_worker URL SEED
"""

from gevent import monkey

monkey.patch_all()

import os  # noqa: E402
import random  # noqa: E402
import sys  # noqa: E402
from dataclasses import replace  # noqa: E402

import gevent  # noqa: E402

from db.committer import Committer  # noqa: E402
from db.engine import make_engine  # noqa: E402
from ocs.ledger.model import Command, Granted, Post  # noqa: E402
from ocs.runtime.clock import SystemClock  # noqa: E402
from tests.db.store_books import held_rows, settled_rows  # noqa: E402
from tests.ledger.books import ALICE, CASH, NOW, hold, settle  # noqa: E402


def main(url: str, seed: int) -> None:
    committer = Committer(make_engine(url), SystemClock(), max_batch=5)
    dice = random.Random(seed)

    def tell(command: Command) -> object:
        outcome = committer.submit(command)
        os.write(1, f"{command.key}\n".encode())
        return outcome

    def calls(line: int) -> None:
        number = 0
        while True:
            number += 1
            name = f"s{seed}l{line}n{number}"
            for total_s in (5, 10):
                granted = tell(replace(hold(name, total_s), writes=held_rows(name)))
                if not isinstance(granted, Granted):
                    tell(Post(f"{name}:top_up", "top_up", ((ALICE, 100), (CASH, -100)), NOW))
                    break
            else:
                tell(replace(settle(name, dice.randint(0, 10)), writes=settled_rows(name)))

    gevent.joinall([gevent.spawn(calls, line) for line in range(10)], raise_error=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
