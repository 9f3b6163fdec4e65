"""Who has a switch's link when daemons come, go, hang, or lose sight of the database or of each other?"""

from __future__ import annotations

from dataclasses import dataclass, field

import gevent
import pytest

from db.live.memory import MemoryLeases
from ocs.errors import OutsideError
from ocs.ports import Lease
from ocs.runtime.clock import ManualClock
from ocs.services.own_switches import SwitchKeeper

LEASE_S = 15


class Fragile(MemoryLeases):
    """Leases of one daemon on a shared store, which may be out of this daemon's reach."""

    def __init__(self, shared: MemoryLeases) -> None:
        self._leases = shared._leases
        self.away = False

    def look(self, name: str) -> Lease | None:
        self._reach()
        return super().look(name)

    def take(self, name: str, owner: str, seen: Lease | None) -> Lease | None:
        self._reach()
        return super().take(name, owner, seen)

    def renew(self, lease: Lease) -> Lease | None:
        self._reach()
        return super().renew(lease)

    def _reach(self) -> None:
        if self.away:
            raise OutsideError("the database is away")


@dataclass
class Daemon:
    """A keeper and what it did."""

    keeper: SwitchKeeper
    leases: Fragile
    log: list[str]
    links: set[str]
    alone: bool = False
    broken: bool = False
    strays: list[str] = field(default_factory=list)


@dataclass
class Site:
    """Daemons on one store and one clock. A dead one's timers still run, but reach nothing."""

    clock: ManualClock = field(default_factory=ManualClock)
    store: MemoryLeases = field(default_factory=MemoryLeases)
    daemons: dict[str, Daemon] = field(default_factory=dict)

    def start(self, owner: str, *names: str, strays: tuple[str, ...] = ()) -> Daemon:
        leases, log, links = Fragile(self.store), [], set()  # type: ignore[var-annotated]

        def take_over(name: str) -> None:
            if made.broken:
                raise OutsideError("the database is away")
            assert name not in links or name in made.strays
            if name not in links:
                log.append(f"took {name}")
            links.add(name)

        def let_go(name: str) -> None:
            links.discard(name)
            log.append(f"let {name} go")

        def announce(lease: Lease) -> None:
            for other in self.daemons.values():
                if other is not made and not other.alone:
                    other.keeper.taken(lease.name, lease.owner, lease.fence)

        keeper = SwitchKeeper(
            leases,
            owner,
            self.clock,
            lease_ms=LEASE_S * 1000,
            take_over=take_over,
            let_go=let_go,
            announce=announce,
            in_company=lambda: not made.alone,
            strays=lambda: made.strays,
        )
        made = Daemon(keeper, leases, log, links, strays=list(strays))
        self.daemons[owner] = made
        keeper.start(names or ("fs1",))
        self.wait(0)
        return made

    def wait(self, seconds: float) -> None:
        self.clock.advance(round(seconds * 1000), lambda: [gevent.sleep(0) for _ in range(5)])
        for name in {name for daemon in self.daemons.values() for name in daemon.links}:
            assert sum(name in daemon.links for daemon in self.daemons.values()) == 1, f"two have {name}"

    def kill(self, daemon: Daemon) -> None:
        """SIGKILL: no word any more, and its links are gone."""
        daemon.leases.away = daemon.alone = True
        daemon.keeper._stopping = True
        daemon.links.clear()


@pytest.fixture
def site() -> Site:
    return Site()


def test_the_first_has_it_and_keeps_it_as_long_as_it_lives(site: Site) -> None:
    a, b = site.start("a"), site.start("b")
    site.wait(300)
    assert (a.log, b.log) == (["took fs1"], [])
    assert a.keeper.has("fs1")
    assert not b.keeper.has("fs1")
    assert b.keeper.holder("fs1") == a.keeper.holder("fs1") == "a"


def test_a_daemon_that_died_is_followed_after_its_lease_and_not_before(site: Site) -> None:
    a, b = site.start("a"), site.start("b")
    site.wait(60)
    site.kill(a)
    site.wait(LEASE_S - 1)
    assert b.log == []
    site.wait(2 * LEASE_S)
    assert b.log == ["took fs1"]


def test_a_daemon_that_stopped_is_followed_at_the_next_look(site: Site) -> None:
    a, b = site.start("a"), site.start("b")
    a.links.clear()
    a.keeper.stop()
    a.keeper.release()
    site.wait(LEASE_S / 3)
    assert b.log == ["took fs1"]


def test_a_daemon_that_comes_back_under_its_name_has_its_switches_at_once(site: Site) -> None:
    site.kill(site.start("a", "fs1", "fs2"))
    again = site.start("a", "fs1", "fs2")
    assert again.log == ["took fs1", "took fs2"]


def test_two_daemons_of_one_name_do_not_pull_to_and_fro(site: Site) -> None:
    first = site.start("a")
    site.daemons.clear()  # not told: it learns with its next beat, and until then there are two links
    second = site.start("a")
    assert second.log == ["took fs1"]
    site.wait(LEASE_S / 3)
    site.daemons["the first a"] = first
    site.wait(300)
    assert (first.log, second.log) == (["took fs1", "let fs1 go"], ["took fs1"])


def test_a_database_that_is_away_for_all_moves_nothing(site: Site) -> None:
    a, b = site.start("a"), site.start("b")
    site.wait(20)
    a.leases.away = b.leases.away = True
    site.wait(600)
    b.leases.away = False
    site.wait(LEASE_S / 3)
    a.leases.away = False
    site.wait(300)
    assert (a.log, b.log) == (["took fs1"], [])


def test_one_that_cannot_reach_the_database_hears_from_the_others_when_it_is_followed(site: Site) -> None:
    a, b = site.start("a"), site.start("b")
    a.leases.away = True
    site.wait(LEASE_S)
    assert a.links
    site.wait(LEASE_S)
    assert (a.log, b.log) == (["took fs1", "let fs1 go"], ["took fs1"])
    a.leases.away = False
    site.wait(300)
    assert b.links


def test_one_that_is_cut_off_from_all_lets_go_before_another_takes_over(site: Site) -> None:
    a, b = site.start("a"), site.start("b")
    a.leases.away = a.alone = True
    site.wait(LEASE_S)
    assert (a.log, b.log) == (["took fs1", "let fs1 go"], [])
    site.wait(LEASE_S)
    assert b.log == ["took fs1"]


def test_losing_sight_of_the_others_alone_changes_nothing(site: Site) -> None:
    a, b = site.start("a"), site.start("b")
    a.alone = b.alone = True
    site.wait(600)
    assert (a.log, b.log) == (["took fs1"], [])


def test_a_taking_that_cannot_read_the_calls_is_given_back_and_tried_again(site: Site) -> None:
    a = site.start("a")
    site.kill(a)
    b = site.start("b")
    b.broken = True
    site.wait(3 * LEASE_S)
    assert b.links == set()
    assert set(b.log) == {"let fs1 go"}
    b.broken = False
    site.wait(LEASE_S)
    assert b.links == {"fs1"}


# --- switches that live and die with a daemon ---


def test_the_stray_of_one_that_lives_is_watched_and_not_touched(site: Site) -> None:
    b = site.start("b", "ivr:b")
    a = site.start("a", strays=("ivr:b",))
    site.wait(300)
    assert (a.log, b.log) == (["took fs1"], ["took ivr:b"])


def test_the_stray_of_one_that_died_is_taken_when_its_lease_has_stood_still_and_free_when_all_is_over(
    site: Site,
) -> None:
    b, a = site.start("b", "ivr:b"), site.start("a")
    site.wait(60)
    a.strays.append("ivr:b")
    site.wait(LEASE_S)
    site.kill(b)
    site.wait(LEASE_S - 1)
    assert "took ivr:b" not in a.log
    site.wait(2 * LEASE_S)
    assert a.log.count("took ivr:b") == 1
    site.wait(60)
    assert a.keeper.has("ivr:b")
    a.strays.clear()
    site.wait(LEASE_S)
    assert not a.keeper.has("ivr:b")
    assert a.leases.look("ivr:b").owner == ""  # type: ignore[union-attr]
    site.wait(300)
    assert a.log.count("took ivr:b") == 1


def test_one_of_two_takes_a_stray(site: Site) -> None:
    b = site.start("b", "ivr:b")
    both = [site.start(name, strays=("ivr:b",)) for name in ("a", "c")]
    site.kill(b)
    site.wait(300)
    assert sum(daemon.log.count("took ivr:b") for daemon in both) == 1


def test_one_that_was_followed_has_its_own_switch_back_when_the_other_is_done(site: Site) -> None:
    b, a = site.start("b", "ivr:b"), site.start("a", strays=("ivr:b",))
    b.leases.away = True
    site.wait(3 * LEASE_S)
    assert (a.log, b.log) == (["took fs1", "took ivr:b"], ["took ivr:b", "let ivr:b go"])
    b.leases.away = False
    site.wait(60)
    assert not b.keeper.has("ivr:b")
    a.strays.clear()
    site.wait(2 * LEASE_S)
    assert b.log[-1] == "took ivr:b"


def test_strays_that_cannot_be_read_now_are_read_later(site: Site) -> None:
    a = site.start("a")
    a.keeper._strays = out_of_reach
    site.wait(60)
    a.keeper._strays = lambda: ("ivr:b",)
    a.strays.append("ivr:b")
    site.wait(LEASE_S)
    assert a.log == ["took fs1", "took ivr:b"]  # nobody ever had it


def out_of_reach() -> tuple[str, ...]:
    raise OutsideError("the database is away")
