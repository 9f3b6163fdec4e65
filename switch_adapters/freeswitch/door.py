"""One FreeSWITCH behind the port `ocs.ports.Switch`: how is it kept in reach, heard and obeyed?

Two connections: one hears events and asks for listings, one carries the commands of calls, so that no large
answer stands in the way of a cut. They are up together or not at all. Coming up: connect, authenticate,
subscribe, then resync, then believe. Going down: every open call hears SwitchLost, and the door tries again,
ever more patiently.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import structlog
from gevent import Greenlet, spawn
from gevent.event import Event as Flag

from ocs.errors import CallerError
from ocs.ports import CallHandler, Clock, Timer
from ocs.sessions.events import Allow, Reject, SwitchCommand, SwitchLost
from switch_adapters.freeswitch.cdr import CdrIntake
from switch_adapters.freeswitch.commands import Commander, template_variables
from switch_adapters.freeswitch.config import CdrFolder, FreeSwitchConfig
from switch_adapters.freeswitch.frames import text
from switch_adapters.freeswitch.link import DISCONNECT, Link, LinkBusy, LinkEvent, LinkLost
from switch_adapters.freeswitch.observe import Observer
from switch_adapters.freeswitch.resync import Resync, core_uuid
from switch_adapters.freeswitch.translate import EVENTS, ChannelBook, Delivery

log = structlog.get_logger(__name__)


class FreeSwitch:
    """A switch by its Event Socket. Start it once; `perform` may be called at any time from any greenlet."""

    def __init__(
        self,
        config: FreeSwitchConfig,
        handler: CallHandler,
        *,
        clock: Clock,
        random: Callable[[], float],
        observer: Observer | None = None,
        known_core_uuid: str = "",
        on_core: Callable[[str], None] = lambda core_uuid: None,
    ) -> None:
        """`random` gives numbers in [0, 1) for the backoff's jitter.

        `known_core_uuid` is what `core_uuid` was before a restart of ours; with it, a switch that restarted
        meanwhile is recognised. `on_core` is told the Core-UUID to keep for that, once the calls of the life
        before are dealt with; it must not raise.
        """
        self.config = config
        self.core_uuid = known_core_uuid
        """The switch's Core-UUID when it was last up."""
        self._on_core = on_core
        self._told_core = known_core_uuid
        self._handler = handler
        self._clock = clock
        self._random = random
        self._observer = observer or Observer()
        self.book = ChannelBook(
            config.rules,
            destination_variable=config.destination_variable,
            keep_variables=template_variables(config.transfer),
            fact_variables=config.fact_variables,
            cut_cause=config.cut_cause,
            hold_back_ms=int(config.hold_back_s * 1000),
            unauthorised=self._tell_unauthorised,
        )
        self.cdrs = CdrIntake(config.name, handler, clock=clock, observer=self._observer)
        self._events: Link | None = None
        self._commands: Link | None = None
        self._resync: Resync | None = None
        self._up = False
        self._stopping = False
        self._lost = Flag()
        self._wake = Flag()
        self._resync_now = Flag()
        self._held_back: Timer | None = None
        self._asked: Timer | None = None
        """Gives the listing that was asked for too soon after the one before."""
        self._asked_ms = 0
        self._heard_ms = 0
        self._greenlets: list[Greenlet] = []

    @property
    def name(self) -> str:
        """Its name in settings."""
        return self.config.name

    @property
    def up(self) -> bool:
        """Connected, authenticated and subscribed."""
        return self._up

    def start(self) -> None:
        """Begin to connect, in the background."""
        self._greenlets.append(spawn(self._run))
        if self.config.cdr_folder is not None:
            self._greenlets.append(spawn(self._watch_folder, self.config.cdr_folder))

    def stop(self) -> None:
        """Let go of the switch. Calls stay up; nobody hears SwitchLost."""
        self._stopping = True
        self._drop("stopped")
        self._wake.set()
        self._lost.set()
        self._resync_now.set()
        for greenlet in self._greenlets:
            greenlet.join(timeout=5)

    def perform(self, command: SwitchCommand) -> bool:
        """Carry out a command. Blocks up to the reply timeout. False: it did not take, or nobody knows.

        A parked call that did not get its yes or no is offered again, if the next listing finds it waiting.
        """
        link, took = self._commands, False
        try:
            if link is not None and self._up:
                commander = Commander(link, self.book, self.config, self._clock, self.ask_resync)
                took = commander.perform(command)
        except CallerError as error:  # it would be the same the next time
            log.error("command refused", switch=self.name, command=type(command).__name__, why=error.message)
            return False
        except (LinkLost, LinkBusy) as error:
            log.warning("command lost", switch=self.name, command=type(command).__name__, why=error.message)
        call = self.book.calls.get(command.channel) if isinstance(command, Allow | Reject) else None
        if call is not None and not took:
            call.unanswered = True
            self.ask_resync()
        return took

    def ask_resync(self) -> None:
        """Have the next listing now instead of at its time; who asks again within `gap_s` waits so long."""
        now_ms = self._clock.now_ms()
        due_ms = self._asked_ms + int(self.config.resync.gap_s * 1000)
        if now_ms >= due_ms:
            self._run_asked()
        elif self._asked is None:
            self._asked = self._clock.call_at(due_ms, self._run_asked)

    def _run_asked(self) -> None:
        self._asked, self._asked_ms = None, self._clock.now_ms()
        self._resync_now.set()

    # --- the link -------------------------------------------------------------------------------

    def _run(self) -> None:
        attempt = 0
        while not self._stopping:
            self._lost.clear()
            try:
                self._bring_up()
            except (LinkLost, LinkBusy) as error:
                self._drop(error.message)
                self._observer.link_changed(self.name, False, error.message)
                log.warning("switch not reached", switch=self.name, why=error.message, hint=error.hint)
            else:
                attempt = 0
                self._resync_until_lost()
                self._went_down()
            self._pause(self._backoff_s(attempt))
            attempt += 1

    def _bring_up(self) -> None:
        self._commands = self._connect()
        self._events = events = self._connect()
        for name in EVENTS:
            events.register_handle(name, self._on_event)
        for name in ("HEARTBEAT", "SHUTDOWN"):
            events.register_handle(name, self._on_sign_of_life)
        self._commands.register_handle(
            DISCONNECT, lambda event: self._drop("the command connection went down")
        )
        events.register_handle(DISCONNECT, lambda event: self._on_lost(events))
        for channel, live in self._handler.open_channels(self.name).items():
            self.book.adopt(channel, live, self._clock.now_ms())
        # Nothing is asked between the subscription and being up: a call of that moment wants its answer.
        core = core_uuid(events)
        reply = events.send("event json " + " ".join((*EVENTS, "HEARTBEAT", "SHUTDOWN")))
        if not reply.ok:
            raise LinkLost(f"the switch refused our subscription: {reply.text}")
        before, self.core_uuid = self.core_uuid, core or self.core_uuid
        restarted = bool(before) and before != self.core_uuid
        self._heard_ms = self._clock.monotonic_ms()
        self._watch_heartbeat(events)
        self._resync = Resync(
            self.name,
            events,
            self.book,
            self._handler,
            clock=self._clock,
            limits=self.config.resync,
            deliver=self._deliver,
            observer=self._observer,
            restarted=restarted,
        )
        self._up = True
        self._observer.link_changed(self.name, True, "restarted" if restarted else "connected")
        log.info("switch connected", switch=self.name, core=self.core_uuid, restarted=restarted)

    def _connect(self) -> Link:
        config = self.config
        link = Link(
            config.name,
            config.host,
            config.port,
            config.password,
            clock=self._clock,
            limits=config.link,
            observer=self._observer,
        )
        link.connect()
        return link

    def _resync_until_lost(self) -> None:
        assert self._resync is not None
        while not self._lost.is_set():
            self._resync_now.clear()
            try:
                wait_s = self._resync.run()
                self._tell_core()
            except LinkLost:
                self._lost.wait()  # DISCONNECT comes after the events that were read before
                return
            except Exception:  # whatever it was, the link is up and calls depend on the next pass
                log.exception("resync failed, nothing is closed", switch=self.name)
                wait_s = self.config.resync.recheck_s
            timer = self._clock.call_at(self._clock.now_ms() + int(wait_s * 1000), self._resync_now.set)
            self._resync_now.wait()
            timer.cancel()

    def _tell_core(self) -> None:
        assert self._resync is not None
        if self._resync.believed and self.core_uuid != self._told_core:
            self._told_core = self.core_uuid
            self._on_core(self.core_uuid)

    def _went_down(self) -> None:
        reason = self._events.lost_because if self._events else ""
        self._up = False
        self._drop(reason)
        self._observer.link_changed(self.name, False, reason)
        log.warning("switch lost", switch=self.name, why=reason)
        if self._stopping:
            return
        now_ms = self._clock.now_ms()
        self._deliver([(one, SwitchLost(now_ms)) for one in self._handler.open_channels(self.name)])

    def _on_lost(self, link: Link) -> None:
        if link is self._events:  # not one of an attempt that failed
            self._lost.set()
            self._resync_now.set()

    def _drop(self, reason: str) -> None:
        for link in (self._commands, self._events):
            if link is not None and not link.lost_because:
                link.drop(reason)
        self._resync_now.set()

    def _backoff_s(self, attempt: int) -> float:
        backoff = self.config.backoff
        full_s = min(backoff.max_s, backoff.base_s * 2.0 ** min(attempt, 32))
        return full_s * (1 - backoff.jitter * self._random())

    def _pause(self, wait_s: float) -> None:
        if self._stopping:
            return
        self._wake.clear()
        timer = self._clock.call_at(self._clock.now_ms() + int(wait_s * 1000), self._wake.set)
        self._wake.wait()
        timer.cancel()

    def _watch_heartbeat(self, link: Link) -> None:
        limit_ms = int(self.config.heartbeat_timeout_s * 1000)

        def check() -> None:
            if link.lost_because:
                return
            silent_ms = self._clock.monotonic_ms() - self._heard_ms
            if silent_ms >= limit_ms:
                link.drop("no heartbeat")
            else:
                self._clock.call_at(self._clock.now_ms() + limit_ms - silent_ms, check)

        self._clock.call_at(self._clock.now_ms() + limit_ms, check)

    # --- events ---------------------------------------------------------------------------------

    def _on_event(self, event: LinkEvent) -> None:
        self._heard_ms = self._clock.monotonic_ms()
        self._deliver(self.book.translate(event.headers, self._clock.now_ms()))
        self._arm_held_back()

    def _on_sign_of_life(self, event: LinkEvent) -> None:
        self._heard_ms = self._clock.monotonic_ms()
        if text(event.headers, "Event-Name") == "SHUTDOWN":
            log.warning("switch shuts down", switch=self.name)

    def _arm_held_back(self) -> None:
        due_ms = self.book.next_due_ms()
        if due_ms is not None and self._held_back is None:
            self._held_back = self._clock.call_at(due_ms, self._run_held_back)

    def _run_held_back(self) -> None:
        self._held_back = None
        self._deliver(self.book.due(self._clock.now_ms()))
        self._arm_held_back()

    def _deliver(self, told: Iterable[Delivery]) -> None:
        for channel, event in told:
            self._handler.deliver(self.name, channel, event)

    def _tell_unauthorised(self, channel: str) -> None:
        self._observer.call_unauthorised(self.name, channel)
        log.error("a call talked without having asked", switch=self.name, channel=channel)

    # --- CDR files ------------------------------------------------------------------------------

    def _watch_folder(self, folder: CdrFolder) -> None:
        take = self.cdrs.repeat_taken
        wake = Flag()
        while not self._stopping:
            try:
                take(folder)
                take = self.cdrs.scan
            except (OSError, CallerError) as error:
                log.error("CDR folder cannot be read", switch=self.name, why=str(error))
            wake.clear()
            self._clock.call_at(self._clock.now_ms() + int(folder.period_s * 1000), wake.set)
            wake.wait()
