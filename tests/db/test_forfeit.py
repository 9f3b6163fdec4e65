"""Does expired money go to the house once, whoever asks how often, and no other? On both databases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import gevent
import pytest
from sqlalchemy import Engine, text, update

from db import tables
from db.committer import Committer
from db.engine import reading, writing
from db.repositories.accounts import AccountRepository
from db.repositories.journal import JournalRepository
from ocs.ledger.model import AccountKind, Post, Posted
from ocs.runtime.clock import ManualClock
from ocs.services.forfeit_credit import BITE, PAUSE_S, ForfeitCredit
from ocs.services.vouchers import NewBatch
from tests.db.store_books import account, broken, held_rows, redeem, settled_rows, write_vouchers
from tests.ledger.books import ALICE, BOB, CASH, DAY, NOW, hold, settle

EXPIRED = NOW + DAY
GRACE_DAYS = 30
DUE = EXPIRED + GRACE_DAYS * DAY


class House:
    """A daemon's housekeeping on its own committer, and what it did."""

    def __init__(
        self, engine: Engine, apart: Callable[[Callable[[], Any]], Any] = lambda work: work()
    ) -> None:
        self.engine = engine
        self.clock = ManualClock()
        self.committer = Committer(engine, self.clock)
        self.pauses: list[float] = []
        self.told: list[str] = []
        self.round = ForfeitCredit(
            AccountRepository(engine), self.committer, self.clock, apart, self.pauses.append, self.told.append
        )

    def at(self, now_ms: int) -> House:
        self.clock.advance(now_ms - self.clock.now_ms())
        return self

    def run(self) -> int:
        return self.round(GRACE_DAYS)


@pytest.fixture
def house(engine: Engine) -> House:
    dated(engine, EXPIRED)
    return House(engine)


def dated(engine: Engine, expires_at_ms: int | None, account_id: int = ALICE) -> None:
    with writing(engine) as connection:
        connection.execute(
            update(tables.accounts)
            .where(tables.accounts.c.account_id == account_id)
            .values(credit_expires_at_ms=expires_at_ms)
        )


def top_up(ticks: int, at_ms: int, valid_ms: int | None = None) -> Post:
    entries = ((ALICE, ticks), (CASH, -ticks))
    return Post(f"paid:{at_ms}", "top_up", entries, at_ms, credit_valid_ms=valid_ms)


def forfeited(engine: Engine) -> int:
    house_id = AccountRepository(engine).house_account(AccountKind.FORFEITED, "USD")
    return int(account(engine, house_id).balance_ticks)


def test_money_is_forfeited_when_its_grace_is_over_and_not_a_millisecond_before(house: House) -> None:
    assert house.at(DUE - 1).run() == 0
    assert house.at(DUE).run() == 1
    assert (account(house.engine).balance_ticks, forfeited(house.engine)) == (0, 1_000)
    assert (house.at(DUE + DAY).run(), house.told) == (0, ["USD"])
    moved = JournalRepository(house.engine).postings_of("alice", limit=9)
    assert ("forfeit", -1_000, "housekeeping") in [(m["kind"], m["ticks"], m["actor"]) for m in moved]
    assert account(house.engine, BOB).balance_ticks == 1_000  # whose money has no date
    assert broken(house.engine) == []


def test_two_daemons_that_look_at_the_same_moment_take_it_once(house: House) -> None:
    """Each has looked before either takes."""
    looked = []

    def meet(work: Callable[[], Any]) -> Any:
        found = work()
        looked.append(found)
        while len(looked) < 2:
            gevent.sleep(0)
        return found

    both = [House(house.engine, meet).at(DUE) for _ in range(2)]
    rounds = [gevent.spawn(one.at(DUE + number).run) for number, one in enumerate(both)]
    gevent.joinall(rounds, raise_error=True)
    assert [len(found) for found in looked] == [1, 1]
    assert sorted(each.value for each in rounds) == [0, 1]
    assert [currency for one in both for currency in one.told] == ["USD"]
    assert (account(house.engine).balance_ticks, forfeited(house.engine)) == (0, 1_000)
    assert broken(house.engine) == []


def test_a_top_up_with_a_period_within_the_grace_saves_the_old_money(house: House) -> None:
    house.committer.submit(top_up(5, DUE - 1, valid_ms=90 * DAY))
    assert house.at(DUE).run() == 0
    assert account(house.engine).balance_ticks == 1_005


def test_a_top_up_between_looking_and_taking_saves_it_too(house: House) -> None:
    def late(work: Callable[[], Any]) -> Any:
        found = work()
        house.committer.submit(top_up(5, DUE, valid_ms=DAY))
        return found

    assert House(house.engine, late).at(DUE).run() == 0
    assert account(house.engine).balance_ticks == 1_005


def test_money_that_came_after_the_date_is_never_taken(house: House) -> None:
    house.committer.submit(top_up(70, EXPIRED))
    write_vouchers(house.engine, NewBatch("ten", 1, currency="USD", ticks=10))
    house.committer.submit(redeem("ten", 1, at_ms=DUE - 1))
    assert house.at(DUE).run() == 1
    house.committer.submit(top_up(3, DUE + 1))
    assert house.at(DUE + DAY).run() == 0
    assert (account(house.engine).balance_ticks, forfeited(house.engine)) == (83, 1_000)


def test_an_account_that_was_empty_at_its_date_loses_nothing_later(house: House) -> None:
    empty = Post("out", "adjust", ((ALICE, -1_000), (CASH, 1_000)), NOW)
    assert isinstance(house.committer.submit(empty), Posted)
    house.committer.submit(top_up(70, DUE + DAY))
    assert house.at(DUE + 2 * DAY).run() == 0
    assert account(house.engine).balance_ticks == 70


def test_what_a_call_holds_waits_for_its_end(house: House) -> None:
    house.committer.submit(replace(hold("c", 60), writes=held_rows("c")))
    assert house.at(DUE).run() == 0
    house.committer.submit(replace(settle("c", 30, at_ms=DUE + 1), writes=settled_rows("c")))
    assert house.at(DUE + 2).run() == 1
    assert (account(house.engine).balance_ticks, forfeited(house.engine)) == (0, 700)
    assert broken(house.engine) == []


def test_the_next_date_is_another_one(house: House) -> None:
    house.at(DUE).run()
    house.committer.submit(top_up(50, DUE + 1, valid_ms=DAY))
    later = DUE + 1 + DAY + GRACE_DAYS * DAY
    assert (house.at(later - 1).run(), house.at(later).run()) == (0, 1)
    assert forfeited(house.engine) == 1_050


def test_the_first_answer_is_kept_as_long_as_the_books(house: House) -> None:
    house.at(DUE).run()
    JournalRepository(house.engine).prune_keys(DUE * 2)
    with reading(house.engine) as connection:
        keys = connection.scalars(tables.ledger_keys.select().with_only_columns(tables.ledger_keys.c.key))
        assert list(keys) == [f"forfeit:{ALICE}:{EXPIRED}"]


def test_a_million_accounts_are_looked_through_in_bites(house: House) -> None:
    row = {"kind": "customer", "currency": "USD", "created_at_ms": 0, "credit_expires_at_ms": EXPIRED}
    with writing(house.engine) as connection:
        rows = [{**row, "code": f"c{n}", "account_id": 100 + n} for n in range(BITE)]
        connection.execute(tables.accounts.insert(), rows)
        connection.execute(
            text(
                f"UPDATE accounts SET balance_ticks = 1 WHERE account_id >= 100 AND account_id < {100 + BITE}"
            )
        )
    assert house.at(DUE).run() == BITE + 1
    assert house.pauses == [PAUSE_S]
    assert forfeited(house.engine) == 1_000 + BITE
