"""Two daemons on one PostgreSQL and one Redis: what reaches one of them is done by the one that has the call.

Each is a whole system with its own timers, and dies by itself; the clock is moved by hand, while what travels
between the two over Redis takes its own time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest

from db.migrate import upgrade
from ocs.errors import OutsideError
from ocs.runtime.api_services import services
from ocs.runtime.bootstrap import System, build
from ocs.runtime.settings import Settings
from tests.scenarios.lab import SWITCH, Lab, Life
from tests.servers import PostgresServer

LEASE_S = 6
PATIENCE_S = 10.0


class Pair(Lab):
    """A bench with daemons "a" and "b". `lab.system` is the one that is spoken to: `at` moves it."""

    redis_url = ""

    def __post_init__(self) -> None:
        self.all: dict[str, tuple[System, Life, Any]] = {}
        super().__post_init__()

    def daemon(self, name: str) -> System:
        """Start one."""
        told = self.settings().model_dump()
        told["daemon"].update(name=name, lease_s=LEASE_S)
        told["redis"]["url"] = self.redis_url
        told["freeswitch"] = list(self.settings().freeswitch)
        life = Life(self.clock)
        system = build(Settings.model_validate(told), clock=life, jitter=lambda: 0.0)
        self.all[name] = (system, life, services(system))
        system.metrics.decided = self._note_decision  # type: ignore[method-assign]
        system.start()
        self.at(name)
        self.until(lambda: not system.signals.fault, "Redis")
        self.wait(0)
        return system

    def at(self, name: str) -> None:
        """Speak to this one from now on."""
        self.system, self._life, self.services = self.all[name]

    def dies(self, name: str) -> None:
        """SIGKILL."""
        system, _, _ = self.all[name]
        self.at(name)
        system.signals.close()
        self.daemon_dies()
        del self.all[name]
        self.at(next(iter(self.all)))

    def until(self, happened: Callable[[], Any], what: str) -> None:
        """Wait in real time for what travels over Redis."""
        with gevent.Timeout(PATIENCE_S, AssertionError(f"{what} did not happen")):
            while not happened():
                gevent.sleep(0.005)
        self.settle()

    def pays_in(self, code: str, amount: str) -> None:
        """Money comes in over the API of the daemon that is spoken to."""
        view = self.services.accounts.find(code)
        self.services.accounts.post(code, "top_up", 10_000 * int(amount), key="t", memo="", actor="lab")
        self.services.funds_arrived(view.account_id)

    def _busy(self) -> bool:
        systems = [system for system, _, _ in self.all.values()]
        asking = any(system.keeper is not None and not system.keeper.idle for system in systems)
        return super()._busy() or asking or any(not system.charging.idle for system in systems)

    def close(self) -> None:
        for name in list(self.all):
            self.at(name)
            self.all[name][0].signals.close()
            self.daemon_dies()
        self.switch.stop()


@pytest.fixture
def lab(postgresql_server: PostgresServer, redis_url: str) -> Iterator[Pair]:
    url = postgresql_server.fresh()
    upgrade(url)
    made = Pair(url, charging={"slice_s": 15, "lead_s": 10})
    made.redis_url = redis_url
    made.daemon("a")
    made.tariff()
    made.daemon("b")
    made.at("a")
    yield made
    made.close()
    postgresql_server.drop(url)


def has_link(lab: Pair, name: str) -> bool:
    return lab.all[name][0].switches[SWITCH].up


def test_one_of_them_has_the_link_and_both_are_ready(lab: Pair) -> None:
    assert (has_link(lab, "a"), has_link(lab, "b")) == (True, False)
    ready = {name: inside.ready() for name, (_, _, inside) in lab.all.items()}
    assert all(one.ready for one in ready.values())
    assert ready["b"].asides == {"redis": "", f"switch:{SWITCH}": "linked to a"}
    with pytest.raises(OutsideError, match="linked to a"):
        lab.all["b"][0].take_cdr(SWITCH, b"{}", "application/json")


def test_a_top_up_through_one_extends_a_call_on_the_other(lab: Pair) -> None:
    lab.account("alice", "0.12")
    lab.call("c1", talk_s=30)
    lab.wait(8)
    assert has_link(lab, "a")
    a = lab.all["a"][0]
    assert lab.row("c1")["state"] == "draining"
    lab.at("b")
    lab.pays_in("alice", "100")
    lab.until(lambda: lab.row("c1")["state"] == "talking", "the extension")
    lab.wait(60)
    assert lab.charged("c1") == "0.30"
    assert a.charging.calls.open_count == 0
    assert list(lab.broken()) == []


def test_a_voucher_used_at_one_extends_a_call_on_the_other(lab: Pair) -> None:
    lab.account("alice", "0.12")
    lab.call("c1", talk_s=30)
    lab.wait(8)
    assert lab.row("c1")["state"] == "draining"
    lab.at("b")
    lab.voucher("alice", "1.00")
    lab.until(lambda: lab.row("c1")["state"] == "talking", "the extension")
    lab.wait(60)
    assert lab.charged("c1") == "0.30"
    assert list(lab.broken()) == []


def test_a_kill_order_to_one_reaches_the_call_on_the_other(lab: Pair) -> None:
    lab.account("alice", "1.00")
    lab.call("c1")
    lab.wait(5)
    lab.at("b")
    call_id = str(lab.row("c1")["call_id"])
    assert lab.services.calls.kill(call_id, "operator-at-b")
    lab.until(lambda: lab.row("c1")["state"] == "closed", "the end")
    assert "killed_by:operator-at-b" in lab.record("c1")["marks"]
    assert not lab.services.calls.kill(call_id, "operator-at-b")


def test_terms_and_tariffs_changed_through_one_are_known_to_the_other(lab: Pair) -> None:
    lab.account("alice", "1.00", tariff="retail")
    lab.call("c1", talk_s=2)
    lab.wait(10)
    lab.at("b")
    lab.tariff("dearer", ("prefix,name,price,per_s,increment", "49,Germany,6.00,60,1/1"))
    lab.services.tariffs_changed()
    book = lab.all["a"][0].book
    lab.until(lambda: "dearer" in {info.tariff for info in book.versions()}, "the new version")
    lab.services.accounts.change("alice", {"tariff": "dearer"})
    directory = lab.all["a"][0].directory
    lab.services.terms_changed()
    lab.until(lambda: directory.find("alice").tariff == "dearer", "the new terms")  # type: ignore[union-attr]
    lab.at("a")
    lab.call("c2", talk_s=2)
    lab.wait(10)
    assert lab.charged("c2") == "0.20"


def test_without_redis_calls_go_on_and_an_order_that_cannot_be_passed_on_says_so(lab: Pair) -> None:
    lab.account("alice", "5.00")
    lab.call("c1", talk_s=60)
    lab.wait(5)
    for name in "ab":
        lab.all[name][0].signals.close()
        lab.all[name][0].signals.fault = "away"  # type: ignore[misc]
    lab.wait(30)
    assert (has_link(lab, "a"), has_link(lab, "b")) == (True, False)
    ready = lab.services.ready()
    assert (ready.ready, ready.asides["redis"]) == (True, "away")
    lab.at("b")
    with pytest.raises(OutsideError, match="not open in this process"):
        lab.services.calls.kill(str(lab.row("c1")["call_id"]), "operator-at-b")
    lab.pays_in("alice", "100")
    lab.wait(60)
    assert (lab.charged("c1"), lab.balance("alice")) == ("0.60", "5.40")
    assert list(lab.broken()) == []


def test_when_one_dies_the_other_takes_the_switch_and_each_call_is_settled_once(lab: Pair) -> None:
    lab.account("alice", "5.00")
    lab.call("long", talk_s=100)
    lab.call("short", talk_s=20)
    lab.wait(10)
    lab.dies("a")
    lab.wait(LEASE_S)
    assert not has_link(lab, "b")
    lab.wait(LEASE_S)
    assert has_link(lab, "b")
    lab.cdr_arrives("short")
    lab.wait(120)
    assert (lab.charged("long"), lab.charged("short")) == ("1.00", "0.20")
    assert lab.balance("alice") == "3.80"
    assert list(lab.broken()) == []


def test_one_that_stops_hands_over_and_calls_go_on(lab: Pair) -> None:
    lab.account("alice", "5.00")
    lab.call("c1", talk_s=60)
    lab.wait(10)
    lab.at("a")
    lab.daemon_stops()
    del lab.all["a"]
    lab.at("b")
    lab.wait(LEASE_S / 3 + 2)
    assert has_link(lab, "b")
    lab.wait(90)
    assert (lab.charged("c1"), lab.record("c1")["marks"]) == ("0.60", [])
    assert list(lab.broken()) == []


def test_one_that_was_followed_lets_go_of_the_link_and_of_its_calls_untouched(lab: Pair) -> None:
    lab.account("alice", "5.00")
    lab.call("c1", talk_s=100)
    lab.wait(10)
    a, b = (lab.all[name][0] for name in "ab")
    assert a.keeper is not None
    assert b.keeper is not None
    seen = b.keeper._leases.look(SWITCH)  # b believes, wrongly, that a is gone
    claim = b.keeper._claims[SWITCH]
    claim.lease = b.keeper._leases.take(SWITCH, "b", seen)
    assert claim.lease is not None
    b.keeper._open(claim, claim.lease)
    lab.until(lambda: not has_link(lab, "a") and has_link(lab, "b"), "the change")
    assert list(a.charging.calls) == []
    lab.at("b")
    lab.wait(120)
    assert (lab.charged("c1"), lab.balance("alice")) == ("1.00", "4.00")
    assert list(lab.broken()) == []
