"""Is a voucher used once, whoever asks how often, and does its value arrive? On both databases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import gevent
import pytest
from sqlalchemy import Engine, select, text
from sqlalchemy.exc import IntegrityError

from db import tables
from db.committer import Committer
from db.engine import make_engine, reading, writing
from db.repositories.journal import JournalRepository
from db.repositories.vouchers import VoucherRepository
from ocs.errors import CallerError, Conflict
from ocs.ledger.model import Command, NotRedeemed, Outcome, Redeem, Redeemed, Refused
from ocs.money import MAX_TICKS
from ocs.refusals import Refusal, VoucherRefusal
from ocs.runtime.clock import ManualClock
from ocs.services.vouchers import NewBatch
from tests.db.store_books import GIFT, account, broken, count, held_rows, redeem, settled_rows, write_vouchers
from tests.db.test_committer import at_once
from tests.ledger.books import ALICE, BOB, CASH, DAY, NOW, hold, settle

USED = NotRedeemed(VoucherRefusal.USED)


@pytest.fixture
def money(engine: Engine) -> Engine:
    write_vouchers(engine, NewBatch("ten", 5, currency="USD", ticks=10))
    return engine


def status(engine: Engine, batch: str = "ten") -> list[str]:
    return [view.status for view in VoucherRepository(engine).vouchers(batch, after=0, limit=99)]


# --- one voucher --------------------------------------------------------------------------------


def test_money_of_a_voucher_arrives_with_the_mark_that_it_is_used(
    committer: Committer, money: Engine
) -> None:
    outcome = committer.submit(redeem("ten", 2))
    assert isinstance(outcome, Redeemed)
    assert (outcome.ticks, outcome.units, outcome.unit, outcome.balance_ticks) == (10, 0, "money", 1_010)
    assert account(money).balance_ticks == 1_010
    assert status(money) == ["ready", "used", "ready", "ready", "ready"]
    view = VoucherRepository(money).vouchers("ten", after=1, limit=1)[0]
    assert (view.account, view.transfer_id, view.redeemed_at_ms) == ("alice", outcome.transfer_id, NOW)
    moved = JournalRepository(money).postings_of("alice", limit=9)
    assert ("voucher", 10, "ivr") in [(row["kind"], row["ticks"], row["actor"]) for row in moved]
    assert broken(money) == []


def test_units_of_a_voucher_are_an_allowance_that_calls_draw(committer: Committer, engine: Engine) -> None:
    write_vouchers(engine, NewBatch("units", 2, allowance=GIFT, valid_ms=DAY))
    outcome = committer.submit(redeem("units", 1))
    assert isinstance(outcome, Redeemed)
    assert (outcome.ticks, outcome.units, outcome.unit) == (0, 60, "second")
    with reading(engine) as connection:
        row = connection.execute(select(tables.allowances)).one()
    assert (row.account_id, row.name, row.granted, row.remaining) == (ALICE, "bonus", 60, 60)
    assert (row.prefixes, row.increment, row.expires_at_ms) == (["49"], 6, NOW + DAY)
    committer.submit(replace(hold("c", 30), writes=held_rows("c")))
    committer.submit(replace(settle("c", 30), writes=settled_rows("c")))
    assert broken(engine) == []


REFUSALS = [
    # what was done before, the voucher, the account, when, the answer
    (None, "ten-9", ALICE, NOW, VoucherRefusal.UNKNOWN),
    ("UPDATE vouchers SET status = 'blocked' WHERE serial = 1", "ten-1", ALICE, NOW, VoucherRefusal.BLOCKED),
    ("UPDATE voucher_batches SET status = 'blocked'", "ten-1", ALICE, NOW, VoucherRefusal.BLOCKED),
    ("UPDATE voucher_batches SET status = 'making'", "ten-1", ALICE, NOW, VoucherRefusal.BLOCKED),
    (f"UPDATE voucher_batches SET expires_at_ms = {NOW}", "ten-1", ALICE, NOW, VoucherRefusal.EXPIRED),
    (f"UPDATE voucher_batches SET expires_at_ms = {NOW + 1}", "ten-1", ALICE, NOW, None),
    ("UPDATE voucher_batches SET currency = 'EUR'", "ten-1", ALICE, NOW, VoucherRefusal.CURRENCY),
    # used comes first, blocked before expired, expired before currency
    ("UPDATE vouchers SET status = 'used'", "ten-1", ALICE, NOW, VoucherRefusal.USED),
    (
        f"UPDATE voucher_batches SET status = 'blocked', expires_at_ms = {NOW}",
        "ten-1",
        ALICE,
        NOW,
        VoucherRefusal.BLOCKED,
    ),
    (
        f"UPDATE voucher_batches SET currency = 'EUR', expires_at_ms = {NOW}",
        "ten-1",
        ALICE,
        NOW,
        VoucherRefusal.EXPIRED,
    ),
]


@pytest.mark.parametrize(("before", "hashed", "account_id", "at_ms", "refusal"), REFUSALS)
def test_a_refusal_has_a_name_and_leaves_nothing_behind(
    committer: Committer,
    money: Engine,
    before: str | None,
    hashed: str,
    account_id: int,
    at_ms: int,
    refusal: VoucherRefusal | None,
) -> None:
    if before is not None:
        with writing(money) as connection:
            connection.execute(text(before))
    keys = count(money, "ledger_keys")
    outcome = committer.submit(Redeem("k", account_id, CASH, (hashed,), at_ms))
    if refusal is None:
        assert isinstance(outcome, Redeemed)
        return
    assert outcome == NotRedeemed(refusal)
    assert count(money, "ledger_keys") == keys
    assert account(money).balance_ticks == 1_000
    assert count(money, "transfers") == 1


def test_a_used_voucher_stays_used_when_its_batch_is_blocked_and_released(
    committer: Committer, money: Engine
) -> None:
    committer.submit(redeem("ten", 1))
    store = VoucherRepository(money)
    for what in ("blocked", "active"):
        assert store.set_batch_status("ten", what)
        assert status(money)[0] == "used"
        assert committer.submit(redeem("ten", 1, key="again", account_id=BOB)) == USED
    assert not store.set_status("ten", 1, "ready")
    assert store.set_status("ten", 2, "blocked")
    assert not store.set_status("ten", 9, "blocked")
    assert not store.set_batch_status("nine", "blocked")
    assert status(money) == ["used", "blocked", "ready", "ready", "ready"]


def test_an_account_that_is_not_there_uses_nothing(committer: Committer, money: Engine) -> None:
    assert committer.submit(Redeem("k", 999, CASH, ("ten-1",), NOW)) == Refused(Refusal.ACCOUNT_UNKNOWN, 999)
    assert committer.submit(Redeem("l", ALICE, 999, ("ten-1",), NOW)) == Refused(Refusal.ACCOUNT_UNKNOWN, 999)
    with pytest.raises(CallerError):
        committer.submit(Redeem("m", CASH, CASH, ("ten-1",), NOW))
    assert status(money)[0] == "ready"


def test_what_would_not_fit_the_ledger_uses_nothing(committer: Committer, engine: Engine) -> None:
    write_vouchers(engine, NewBatch("most", 1, currency="USD", ticks=MAX_TICKS))
    with pytest.raises(CallerError, match="fit"):
        committer.submit(redeem("most", 1))
    assert status(engine, "most") == ["ready"]


# --- repeats ------------------------------------------------------------------------------------


def test_a_repeat_gets_the_first_answer_also_after_a_restart_and_a_year(
    committer: Committer, money: Engine
) -> None:
    first = committer.submit(redeem("ten", 1))
    assert committer.submit(redeem("ten", 1)) == first
    assert JournalRepository(money).prune_keys(NOW + 365 * DAY) == 0
    another = Committer(money, ManualClock())
    assert another.submit(redeem("ten", 1, at_ms=NOW + 365 * DAY)) == first
    another.close()
    assert account(money).balance_ticks == 1_010


def test_a_key_is_for_one_voucher_and_one_account(committer: Committer, money: Engine) -> None:
    committer.submit(redeem("ten", 1, key="k"))
    with pytest.raises(Conflict):
        committer.submit(redeem("ten", 2, key="k", account_id=BOB))


def test_the_database_itself_takes_one_transfer_a_voucher(committer: Committer, money: Engine) -> None:
    """Should the locks fail: the transfer's key is the voucher."""
    committer.submit(redeem("ten", 1))
    row = {"transfer_id": "again", "key": "voucher:1", "kind": "voucher", "at_ms": NOW}
    with pytest.raises(IntegrityError), writing(money) as connection:
        connection.execute(tables.transfers.insert(), row)


# --- races --------------------------------------------------------------------------------------


def results(answers: list[Outcome | BaseException]) -> tuple[int, int]:
    """How many used it, and how many heard that it is used; there is no third answer."""
    good = [answer for answer in answers if isinstance(answer, Redeemed)]
    assert [answer for answer in answers if answer != USED and answer not in good] == []
    return len(good), len(answers) - len(good)


@pytest.mark.parametrize("max_batch", [1, 7, 500])
def test_one_voucher_from_fifty_calls_at_once_is_used_once(money: Engine, max_batch: int) -> None:
    committer = Committer(money, ManualClock(), max_batch=max_batch, lanes=4)
    commands: list[Command] = [
        redeem("ten", 3, key=f"call {n}", account_id=(ALICE, BOB)[n % 2]) for n in range(50)
    ]
    assert results(at_once(committer, commands)) == (1, 49)
    committer.close()
    assert account(money, ALICE).balance_ticks + account(money, BOB).balance_ticks == 2_010
    assert status(money) == ["ready", "ready", "used", "ready", "ready"]
    assert broken(money) == []


def test_fifty_calls_over_five_vouchers_use_each_once(money: Engine) -> None:
    committer = Committer(money, ManualClock(), max_batch=3, lanes=4)
    commands: list[Command] = [
        redeem("ten", 1 + n % 5, key=f"call {n}", account_id=(ALICE, BOB)[n % 2]) for n in range(50)
    ]
    assert results(at_once(committer, commands)) == (5, 45)
    committer.close()
    assert account(money, ALICE).balance_ticks + account(money, BOB).balance_ticks == 2_050
    assert broken(money) == []


@pytest.fixture
def two_daemons(money: Engine) -> Iterator[Callable[[list[Command]], list[Any]]]:
    """Commands in turn to committers that share nothing but the database."""
    engines = [make_engine(money.url, statement_timeout_ms=10_000) for _ in range(2)]
    committers = [Committer(engine, ManualClock(), max_batch=4, lanes=2) for engine in engines]

    def ask(commands: list[Command]) -> list[Any]:
        halves = [gevent.spawn(at_once, committer, commands[n::2]) for n, committer in enumerate(committers)]
        gevent.joinall(halves, raise_error=True)
        return [answer for half in halves for answer in half.value]

    yield ask
    for committer, engine in zip(committers, engines, strict=True):
        committer.close()
        engine.dispose()


def test_one_voucher_at_two_daemons_is_used_once(
    money: Engine, two_daemons: Callable[[list[Command]], list[Any]]
) -> None:
    commands: list[Command] = [
        redeem("ten", 1, key=f"call {n}", account_id=(ALICE, BOB)[n // 2 % 2]) for n in range(50)
    ]
    assert results(two_daemons(commands)) == (1, 49)
    assert account(money, ALICE).balance_ticks + account(money, BOB).balance_ticks == 2_010
    assert broken(money) == []


def test_a_repeat_at_the_other_daemon_gets_the_first_answer(
    money: Engine, two_daemons: Callable[[list[Command]], list[Any]]
) -> None:
    answers = two_daemons([redeem("ten", 1)] * 50)
    assert len({repr(answer) for answer in answers}) == 1
    assert isinstance(answers[0], Redeemed)
    assert account(money).balance_ticks == 1_010


def test_a_block_counts_from_the_next_redemption_on(committer: Committer, money: Engine) -> None:
    """Blocked while calls redeem: each voucher is either used or blocked, never both."""
    store = VoucherRepository(money)
    commands: list[Command] = [redeem("ten", 1 + n % 5, key=f"call {n}") for n in range(20)]
    asked = gevent.spawn(at_once, committer, commands)
    blocked = [serial for serial in range(1, 6) if store.set_status("ten", serial, "blocked")]
    answers = asked.get()
    used = [serial for serial, state in enumerate(status(money), 1) if state == "used"]
    assert sorted(used + blocked) == [1, 2, 3, 4, 5]
    assert sum(isinstance(answer, Redeemed) for answer in answers) == len(used)
    assert account(money).balance_ticks == 1_000 + 10 * len(used)
