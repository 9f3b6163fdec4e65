"""Two daemons with menus: one is killed in mid call, the other finds the call and settles it, once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from db.check import check
from db.migrate import upgrade
from ocs.errors import OutsideError
from ocs.refusals import Refusal
from ocs.runtime.settings import Settings
from switch_adapters.scripted.truth import Ender
from tests.ivr.hall import ALICE
from tests.ivr.test_killed import KilledHall, billed_ms
from tests.scenarios.test_two_daemons import LEASE_S, Pair
from tests.servers import PostgresServer

FOLLOWED_S = 3 * LEASE_S
"""Until the open call was found, its daemon's lease seen to stand still, and taken."""


@dataclass
class WiredPair(Pair):
    """Both daemons have menus."""

    ivr: dict[str, Any] = field(default_factory=dict)

    def settings(self) -> Settings:
        ivr = {"listen": ["127.0.0.1:0"], "dial": "sofia/gateway/carrier/{destination}", **self.ivr}
        return Settings.model_validate({**super().settings().model_dump(exclude_unset=True), "ivr": ivr})


class PairHall(KilledHall):
    """Callers come to the daemon that was spoken to when the hall was made."""

    lab: WiredPair

    def dies(self, name: str) -> None:
        """SIGKILL."""
        self.lab.dies(name)
        self.connection_drops()
        assert self.door.server is not None
        self.door.server._close()
        self.lab.settle()


@pytest.fixture
def lab(postgresql_server: PostgresServer, redis_url: str) -> Iterator[WiredPair]:
    url = postgresql_server.fresh()
    upgrade(url)
    made = WiredPair(url, charging={"slice_s": 15, "lead_s": 10}, rules=({"offer": "authorise"},))
    made.redis_url = redis_url
    made.daemon("a")
    made.tariff()
    made.account(ALICE, "5.00")
    made.daemon("b")
    yield made
    assert made.system is not None
    assert [one.detail for one in check(made.system.engine) if not one.ok] == []
    made.close()
    postgresql_server.drop(url)


@pytest.fixture
def hall(lab: WiredPair) -> PairHall:
    """At b; a has the link to the switch."""
    return PairHall(lab)


def open_at(lab: WiredPair, name: str) -> int:
    return lab.all[name][0].charging.calls.open_count


def test_the_other_finds_the_call_and_the_record_charges_it(lab: WiredPair, hall: PairHall):
    call = hall.talks(5)
    hall.dies("b")
    hall.lab.wait(1.3)
    lab.switch.hang_up(call, Ender.CALLEE)
    hall.post(*hall.documents("outbound"), *hall.documents("inbound"))
    assert hall.records() == []  # the lease has not stood still for long enough: b may live
    hall.lab.wait(FOLLOWED_S + 40)
    duration_ms, balance, marks = hall.settled()
    assert (duration_ms, balance) == (billed_ms(hall.documents("outbound")[0]), "4.93")
    assert "estimated" not in marks


def test_a_call_without_a_record_is_charged_to_what_the_switch_was_told(lab: WiredPair, hall: PairHall):
    hall.talks(3)
    hall.dies("b")
    hall.lab.wait(FOLLOWED_S + 40)
    duration_ms, balance, marks = hall.settled()
    assert (duration_ms, balance) == (10_000, "4.90")
    assert {"estimated", "no_stop"} <= marks


def test_the_calls_of_one_that_lives_are_not_touched(lab: WiredPair, hall: PairHall):
    call = hall.talks(0)
    hall.lab.wait(90)
    assert hall.far_end_talks(call)
    assert (open_at(lab, "a"), open_at(lab, "b")) == (0, 1)
    lab.switch.hang_up(call, Ender.CALLEE)
    hall.lab.wait(1)
    lab.at("a")
    hall.post(*hall.documents("outbound"))
    hall.lab.wait(60)
    duration_ms, _, marks = hall.settled()
    assert (duration_ms, marks) == (billed_ms(hall.documents("outbound")[0]), set())


def test_a_record_finds_its_call_at_whichever_daemon_it_is_posted(lab: WiredPair, hall: PairHall):
    """b has no link to the switch, and its calls all the same."""
    call = hall.talks(5)
    lab.switch.hang_up(call, Ender.CALLEE)
    lab.at("b")
    hall.post(*hall.documents("outbound"))
    hall.lab.wait(1)
    assert hall.settled()[2] == set()
    lab.hangs_up("alice")
    with pytest.raises(OutsideError, match="linked to a"):
        hall.post(*hall.documents("inbound"))


def test_a_daemon_that_comes_back_settles_what_its_life_before_left(lab: WiredPair, hall: PairHall):
    call = hall.talks(5)
    hall.dies("b")
    lab.daemon("b")
    assert open_at(lab, "b") == 1
    lab.switch.hang_up(call, Ender.CALLEE)
    hall.post(*hall.documents("outbound"))
    duration_ms, _, marks = hall.settled()
    assert (duration_ms, marks) == (billed_ms(hall.documents("outbound")[0]), {"from_cdr"})
    hall.lab.wait(FOLLOWED_S)
    assert lab.all["b"][0].keeper is not None
    assert hall.door.name not in lab.all["b"][0].keeper._claims


def test_one_that_was_followed_ends_its_far_ends_and_makes_no_more_until_its_name_is_free(
    lab: WiredPair, hall: PairHall
):
    call = hall.talks(5)
    b = lab.all["b"][0]
    hall.lab.wait(LEASE_S)
    assert b.keeper is not None
    renew, b.keeper._leases.renew = b.keeper._leases.renew, out_of_reach
    look, b.keeper._leases.look = b.keeper._leases.look, out_of_reach
    hall.lab.wait(FOLLOWED_S)
    lab.until(lambda: not b.keeper.has(b.ivr.name), "b hears that it was followed")
    assert not hall.far_end_talks(call)
    assert b.ivr.cards.place(None, ALICE, "1", "4930901820").refusal is Refusal.UNAVAILABLE
    assert open_at(lab, "b") == 0
    lab.at("a")
    hall.post(*hall.documents("outbound"))
    hall.lab.wait(60)
    assert hall.settled()[0] == billed_ms(hall.documents("outbound")[0])
    b.keeper._leases.renew, b.keeper._leases.look = renew, look
    hall.lab.wait(3 * LEASE_S)
    assert b.keeper.has(b.ivr.name)


def out_of_reach(*_: object) -> None:
    raise OutsideError("the database is away")
