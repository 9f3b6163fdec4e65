"""Which switches are this daemon's? One daemon at a time has a switch's link; its lease says who.

A holder shows a sign of life every third of the lease time. Another daemon takes over when it has watched the
lease stand still for the lease time and a beat more, by its own clock and without a gap in its own watching:
a database that was away for all is no reason. A daemon that comes back under its name takes its switches
again at once.

While the database is away nothing can be renewed and nobody can take over, so the holder keeps the link: its
calls go on to the end of what is paid. Only when it has lost sight of the other daemons too (Redis) must it
be the one that is cut off; then it lets go before another may take over. Money does not depend on any of
this: whoever settles a call, it is settled once, under the lock of its accounts.

Some switches live and die with a daemon (those of calls from its menus). To others they are strays, watched
as long as they have open calls: taken over like any switch when their daemon is gone, free when all is over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import structlog
from gevent.lock import RLock

from ocs.errors import OutsideError
from ocs.ports import Clock, Lease, Leases

log = structlog.get_logger("ocs.switches")


@dataclass
class _Claim:
    """What this daemon knows of one switch's lease. Times are of the monotonic clock."""

    name: str
    lease: Lease | None = None
    """Ours."""
    renewed_ms: int = 0
    """When the last sign of life that was taken down was sent."""
    seen: Lease | None = None
    """Somebody's, as it was read last; since when it has been so; when it was read."""
    seen_since_ms: int = 0
    read_ms: int = 0
    first: bool = True
    """Not looked at yet in this life of the daemon."""
    stray: bool = False
    """Not of the settings: another daemon's, as long as that lives."""
    has_link: bool = False
    lock: RLock = field(default_factory=RLock)


class SwitchKeeper:
    """Takes, keeps and loses switches.

    `take_over(name)` opens a switch's door, first taking in its calls (OutsideError: not now), and is asked
    again for a stray that we have, while it has open calls; `let_go(name)` closes it and forgets the calls as
    they are. `announce(lease)` tells the other daemons of a taking; `in_company()`: can they be reached?
    `strays()`: names of the strays that have open calls (OutsideError).
    """

    def __init__(
        self,
        leases: Leases,
        owner: str,
        clock: Clock,
        *,
        lease_ms: int,
        take_over: Callable[[str], None],
        let_go: Callable[[str], None],
        announce: Callable[[Lease], None],
        in_company: Callable[[], bool],
        strays: Callable[[], Iterable[str]] = tuple,
    ) -> None:
        self.owner = owner
        self._leases = leases
        self._clock = clock
        self._lease_ms = lease_ms
        self._beat_ms = lease_ms // 3
        self._take_over = take_over
        self._let_go = let_go
        self._announce = announce
        self._in_company = in_company
        self._strays = strays
        self._claims: dict[str, _Claim] = {}
        self._stopping = False
        self._asking = 0

    @property
    def idle(self) -> bool:
        """No question to the leases is under way, and no switch is being opened."""
        return self._asking == 0

    def start(self, names: Iterable[str]) -> None:
        """Look at each switch now, and from now on; at strays, too."""
        for name in names:
            self._claim(_Claim(name))
        self._look_around()

    def stop(self) -> None:
        """Take and lose nothing more."""
        self._stopping = True

    def release(self) -> None:
        """After `stop`, when all is closed and committed: other daemons take over with their next look."""
        for claim in self._claims.values():
            if claim.lease is not None:
                try:
                    self._leases.release(claim.lease)
                except OutsideError as fault:
                    log.warning("lease_not_released", switch=claim.name, error=fault.message)
                claim.lease, claim.has_link = None, False

    def has(self, name: str) -> bool:
        """Is this switch ours?"""
        claim = self._claims.get(name)
        return claim is not None and claim.lease is not None

    def holder(self, name: str) -> str:
        """Who had it when we last looked; empty: nobody."""
        claim = self._claims.get(name)
        if claim is None:
            return ""
        if claim.lease is not None:
            return self.owner
        return claim.seen.owner if claim.seen else ""

    def taken(self, name: str, owner: str, fence: int) -> None:
        """Another daemon says that it took a switch."""
        claim = self._claims.get(name)
        if claim is not None and claim.lease is not None and claim.lease.fence < fence:
            self._lose(claim, claim.lease, f"taken over by {owner}")

    def _claim(self, claim: _Claim) -> None:
        self._claims[claim.name] = claim
        self._beat(claim)
        self._watch(claim)

    # --- strays ----------------------------------------------------------------------------------

    def _look_around(self) -> None:
        """Each lease time: which strays are there, and which of ours need us no more?"""
        if self._stopping:
            return
        self._asking += 1
        try:
            strays = set(self._strays())
            for name in sorted(strays - self._claims.keys()):
                self._claim(_Claim(name, stray=True))
            for claim in [claim for claim in self._claims.values() if claim.stray]:
                if claim.name not in strays:
                    self._free(claim)
                else:
                    self._take_again(claim)
        except OutsideError as fault:
            log.warning("strays_unknown", error=fault.message)
        except Exception:
            log.exception("strays_failed")
        finally:
            self._asking -= 1
            self._clock.call_at(self._clock.now_ms() + self._lease_ms, self._look_around)

    def _take_again(self, claim: _Claim) -> None:
        """Its daemon may have written down a call after we had read them, and before it knew of us."""
        with claim.lock:
            if claim.has_link and claim.lease is not None:
                self._take_over(claim.name)

    def _free(self, claim: _Claim) -> None:
        """Its calls are over: nobody need have it, unless its daemon lives and wants it back."""
        del self._claims[claim.name]
        lease, claim.lease = claim.lease, None
        with claim.lock:
            if claim.has_link:
                claim.has_link = False
                self._let_go(claim.name)
        if lease is not None:
            self._leases.release(lease)
            log.info("switch_free", switch=claim.name)

    # --- signs of life ---------------------------------------------------------------------------

    def _beat(self, claim: _Claim) -> None:
        if self._stopping or self._claims.get(claim.name) is not claim:
            return
        started_ms = self._clock.monotonic_ms()
        self._asking += 1
        try:
            if claim.lease is not None:
                self._renew(claim, claim.lease, started_ms)
            else:
                self._look(claim, started_ms)
        except OutsideError as fault:
            log.warning("lease_unknown", switch=claim.name, held=claim.lease is not None, error=fault.message)
        except Exception:
            log.exception("lease_failed", switch=claim.name)
        finally:
            self._asking -= 1
            self._clock.call_at(self._clock.now_ms() + self._beat_ms, lambda: self._beat(claim))

    def _renew(self, claim: _Claim, lease: Lease, started_ms: int) -> None:
        renewed = self._leases.renew(lease)
        if claim.lease is not lease:  # lost or released while we asked
            return
        if renewed is None:
            self._lose(claim, lease, "the lease is another daemon's")
        else:
            claim.lease, claim.renewed_ms = renewed, started_ms

    def _look(self, claim: _Claim, started_ms: int) -> None:
        seen = self._leases.look(claim.name)
        watched = started_ms - claim.read_ms <= 2 * self._beat_ms
        if seen != claim.seen or not watched:
            claim.seen, claim.seen_since_ms = seen, started_ms
        claim.read_ms = started_ms
        ours_before = claim.first and seen is not None and seen.owner == self.owner
        claim.first = False
        stands_still = started_ms - claim.seen_since_ms >= self._lease_ms + self._beat_ms
        if seen is None or not seen.owner or ours_before or stands_still:
            lease = self._leases.take(claim.name, self.owner, seen)
            if lease is not None:
                claim.lease, claim.renewed_ms = lease, started_ms
                self._clock.call_at(self._clock.now_ms(), lambda: self._open(claim, lease))

    # --- the link --------------------------------------------------------------------------------

    def _open(self, claim: _Claim, lease: Lease) -> None:
        """Runs beside the beats: taking in many calls must not cost the lease."""
        self._asking += 1
        try:
            self._open_now(claim, lease)
        finally:
            self._asking -= 1

    def _open_now(self, claim: _Claim, lease: Lease) -> None:
        with claim.lock:
            if self._stopping or not _same(claim.lease, lease):
                return
            log.info("switch_taken", switch=claim.name, owner=self.owner, fence=lease.fence)
            self._announce(lease)
            claim.has_link = True
            try:
                self._take_over(claim.name)
                return
            except OutsideError as fault:
                log.error("switch_not_opened", switch=claim.name, error=fault.message)
        self._lose(claim, lease, "its calls could not be read")
        try:
            self._leases.release(lease)
        except OutsideError as fault:
            log.warning("lease_not_released", switch=claim.name, error=fault.message)

    def _lose(self, claim: _Claim, lease: Lease, why: str) -> None:
        if not _same(claim.lease, lease):
            return
        claim.lease = claim.seen = None
        claim.read_ms = 0
        log.warning("switch_let_go", switch=claim.name, why=why)
        with claim.lock:
            if claim.has_link and claim.lease is None:
                claim.has_link = False
                self._let_go(claim.name)

    def _watch(self, claim: _Claim) -> None:
        """Apart from the beats, which may hang with the database: has the lease run out unseen by all?"""
        if self._stopping or self._claims.get(claim.name) is not claim:
            return
        lease = claim.lease
        if lease is not None and self._clock.monotonic_ms() - claim.renewed_ms >= self._lease_ms:
            if self._in_company():
                log.warning("lease_overdue", switch=claim.name, hint="the database is out of reach")
            else:
                self._lose(claim, lease, "neither the database nor other daemons can be reached")
        self._clock.call_at(self._clock.now_ms() + self._beat_ms, lambda: self._watch(claim))


def _same(one: Lease | None, other: Lease) -> bool:
    """The same taking, whatever beats came since."""
    return one is not None and one.fence == other.fence
