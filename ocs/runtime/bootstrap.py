"""How is it all put together? The one place that builds what runs; importing it starts nothing.

`build` makes a `System` for the daemon and for scenario tests (another clock, another random). What the API
can do with it is `ocs.runtime.api_services`.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import gevent
import structlog
from sqlalchemy import Engine

from db.committer import Committer
from db.live.memory import MemorySignals
from db.live.redis_signals import RedisSignals
from db.rehearse import Rehearsals
from db.repositories.accounts import AccountRepository
from db.repositories.calls import CallRepository
from db.repositories.journal import JournalRepository
from db.repositories.leases import LeaseRepository
from db.repositories.payers import PayerRepository
from db.repositories.records import RecordRepository
from db.repositories.switches import SwitchRepository
from db.repositories.users import UserRepository
from db.tariffs import TariffRepository
from ocs import __version__
from ocs.api.services import Readiness, SwitchView
from ocs.errors import NotFound, OutsideError
from ocs.ports import Clock, Signals
from ocs.rating.book import TariffBook
from ocs.rating.destinations import normalise
from ocs.runtime.clock import SystemClock
from ocs.runtime.database import database_fault, open_committer, open_engine
from ocs.runtime.diameter_doors import DiameterDoors
from ocs.runtime.housekeeping import prune_keys
from ocs.runtime.ivr_door import IGNORE_RULE, IvrDoor, PrepaidPins, redeeming
from ocs.runtime.metrics import Metrics
from ocs.runtime.nas_doors import NasDoors
from ocs.runtime.prepaid import Prepaid, make_prepaid
from ocs.runtime.settings import Settings
from ocs.runtime.threads import apart
from ocs.services.card_calls import PAYER_RULE, PREFIX
from ocs.services.charge_calls import ChargeCalls
from ocs.services.desk import Desk
from ocs.services.directory import Directory
from ocs.services.forfeit_credit import ForfeitCredit
from ocs.services.identify import Rule
from ocs.services.manage_tariffs import refresh_book
from ocs.services.news import News
from ocs.services.own_switches import SwitchKeeper
from ocs.services.recover_calls import recover_calls
from ocs.services.simulate import Simulator
from ocs.services.users import UserDirectory
from ocs.sessions.session import State, from_row
from switch_adapters.freeswitch.door import FreeSwitch

log = structlog.get_logger(__name__)


@dataclass
class System:
    """Everything that runs, and the state of running it. Made by `build`; `start` opens the doors."""

    settings: Settings
    clock: Clock
    metrics: Metrics
    engine: Engine
    committer: Committer
    tariffs: TariffRepository
    book: TariffBook
    directory: Directory
    charging: ChargeCalls
    calls: CallRepository
    make_door: Callable[[Settings, str], FreeSwitch | None]
    """A door, not started, to the switch of this name; None: settings do not name it."""
    users: UserDirectory
    signals: Signals = field(default_factory=MemorySignals)
    keeper: SwitchKeeper | None = None
    """Who has which switch, where there may be several daemons; None: everything is ours."""
    switches: dict[str, FreeSwitch] = field(default_factory=dict)
    recovered: bool = False
    stopping: bool = False

    def __post_init__(self) -> None:
        self.news = News(
            self.signals, self.charging, self.read_anew, self.refresh_tariffs, self._taken_elsewhere
        )
        for wanted in self.settings.freeswitch:
            self._place_door(wanted.name)
        self.doors = NasDoors(
            self.settings,
            self.charging,
            self.users,
            self.clock,
            self.metrics,
            load_open=self.calls.open_snapshots,
            load_call=self.calls.snapshot,
            took=self.news.call_taken,
            ready=lambda: self.recovered and not self.stopping,
        )
        self.rehearsals = Rehearsals(self.engine)
        self.simulate = make_simulator(self.settings, self.rehearsals, self.book, self.directory)
        self.diameter = DiameterDoors(
            self.settings.diameter,
            self.charging,
            self.clock,
            self.metrics,
            load_session=self.calls.of_session,
            load_open=self.calls.open_snapshots,
            load_call=self.calls.snapshot,
            took=self.news.call_taken,
            rehearse=self.rehearsals,
        )
        self.prepaid: Prepaid = make_prepaid(
            self.settings.prepaid,
            self.engine,
            self.committer,
            self.clock,
            apart=apart,
            funds_arrived=self.news.funds_arrived,
        )
        self.ivr = IvrDoor(
            self.settings.ivr,
            self.charging,
            self.clock,
            self.metrics,
            daemon="" if self.charging.desk.alone else self.settings.daemon.full_name(),
            account=AccountRepository(self.engine).find,
            simulate=self.simulate,
            records=RecordRepository(self.engine),
            pins=PrepaidPins(self.prepaid.pins),
            redeem=redeeming(self.prepaid.vouchers),
            ours=lambda name: self.keeper is None or self.keeper.has(name),
        )

    @property
    def linkless(self) -> set[str]:
        """Names of those whose calls any daemon may be asked about: they have no link of ours."""
        menus = () if self.ivr.server is None else (self.ivr.name,)
        return {*self.doors.nas, *self.diameter.names, *menus}

    def start(self) -> None:
        """Take in the calls that were left open, then open the doors: of every switch that is ours.

        Raises OutsideError.
        """
        self.directory.warm()
        self.users.warm()
        open_ones = self.calls.open_switches()
        names = {*self.switches, *self.linkless, *open_ones}
        if self.keeper is None:
            log.info("recovering")
            log.info("recovered", calls=self._recover(sorted(names)))
            for switch in self.switches.values():
                switch.start()
        else:
            self.keeper.start(sorted(names - {name for name in open_ones if self._is_stray(name)}))
        self.recovered = True
        self.doors.start()
        self.diameter.start()
        self.ivr.start()
        self.signals.subscribe(self.news.hear)

    def take_over(self, name: str) -> None:
        """This switch is ours from now on: take in its calls, open its door. Raises OutsideError."""
        if name == self.ivr.name:
            return  # of this life of the daemon: its calls are here
        if (calls := self._recover([name])) or not self._is_stray(name):
            log.info("recovered", switch=name, calls=calls)
        if name in self.linkless:
            return  # whichever daemon it asks answers
        self.refresh_tariffs()  # its calls may have been answered at versions that we had dropped
        door = self._place_door(name)  # anew: its Core-UUID may have changed under another daemon
        if door is not None:
            door.start()

    def let_go(self, name: str) -> None:
        """This switch is another daemon's: close its door, forget its calls as they are."""
        if name == self.ivr.name:
            self.ivr.let_go()
        if name in self.linkless:
            return
        if name in self.switches:
            self.switches[name].stop()
        self.charging.let_go(name)

    def strays(self) -> list[str]:
        """Switches of calls from menus, but our own, that have open calls. Raises OutsideError."""
        return [name for name in self.calls.open_switches() if self._is_stray(name)]

    def _is_stray(self, name: str) -> bool:
        return name.startswith(PREFIX) and name != self.ivr.name

    def _recover(self, names: list[str]) -> int:
        policy = self.charging.desk.policy
        return recover_calls(self.calls.open_snapshots, names, self.charging, self.clock, policy)

    def _place_door(self, name: str) -> FreeSwitch | None:
        door = self.make_door(self.settings, name)
        if door is not None:
            self.switches[name] = door
            self.charging.attach(door)
        return door

    def _taken_elsewhere(self, name: str, owner: str, fence: int) -> None:
        if self.keeper is not None:
            self.keeper.taken(name, owner, fence)

    def stop(self) -> None:
        """Refuse new calls, let answers out, let go of the switches, commit what waits. Calls stay up."""
        self.stopping = True
        self.charging.refusing = True
        self.ivr.stop()
        self.doors.stop()
        self.diameter.stop()
        deadline_ms = self.clock.monotonic_ms() + self.settings.daemon.stop_timeout_s * 1000
        while not self.charging.idle and self.clock.monotonic_ms() < deadline_ms:
            gevent.sleep(0.01)
        if self.keeper is not None:
            self.keeper.stop()
        for switch in self.switches.values():
            switch.stop()
        self.committer.close()
        if self.keeper is not None:
            self.keeper.release()
        self.signals.close()
        self.rehearsals.close()
        self.engine.dispose()
        log.info("stopped", open_calls=self.charging.calls.open_count)

    def refresh_tariffs(self) -> None:
        """Bring the tariff book up to what is stored; versions that open calls use stay."""
        sessions = (call.session for call in self.charging.calls)
        legs = [leg for session in sessions if session.state is not State.CLOSED for leg in session.legs]
        keep = {leg.tariff_version_id for leg in legs if leg.tariff_version_id is not None}
        loaded = apart(partial(refresh_book, self.tariffs, self.book, self.clock.now_ms(), keep))
        for info in loaded:
            log.info("tariff_loaded", tariff=info.tariff, version=info.version, rates=info.rate_count)

    def read_anew(self) -> None:
        """Accounts or users changed: know it now, or when the database is back."""
        self.directory.forget()
        self.users.forget()

    def catch_up(self) -> None:
        """Take over what other processes changed of accounts and users. Raises OutsideError."""
        self.directory.catch_up()
        self.users.catch_up()

    def apply(self, settings: Settings) -> None:
        """Take over what may change while calls are up: charging policy, payer rules, number plan."""
        self.settings = settings
        desk = replace(
            self.charging.desk,
            normalise=partial(normalise, plan=settings.numbering.plan()),
            policy=settings.charging.policy(),
            payer_rules=_payer_rules(settings),
            supplier_rules=tuple(rule.rule() for rule in settings.supplier),
            max_open_calls=settings.charging.max_open_calls,
        )
        self.charging.move_to(desk)
        for switch in self.switches.values():
            switch.book.fact_variables = _fact_variables(settings)

    def readiness(self) -> Readiness:
        """May calls be sent here?"""
        parts = {
            "database": database_fault(self.engine),
            "recovery": "" if self.recovered else "open calls are being read",
            "stopping": "the daemon is stopping" if self.stopping else "",
        }
        asides = {"redis": self.signals.fault} if self.settings.redis.url else {}
        for name, switch in self.switches.items():
            if self.keeper is None or self.keeper.has(name):
                parts[f"switch:{name}"] = "" if switch.up else "not connected"
            else:
                asides[f"switch:{name}"] = f"linked to {self.keeper.holder(name) or 'nobody'}"
        return Readiness(parts, asides)

    def switch_views(self) -> list[SwitchView]:
        """The links as people see them."""
        return (
            [
                SwitchView(
                    name=name,
                    kind="freeswitch",
                    address=f"{switch.config.host}:{switch.config.port}",
                    up=switch.up,
                    since_ms=None,
                    version="",
                    open_calls=len(self.charging.open_channels(name)),
                    detail=switch.core_uuid if self.keeper is None else self.keeper.holder(name),
                )
                for name, switch in self.switches.items()
            ]
            + [
                SwitchView(
                    name=wanted.name,
                    kind=wanted.kind,
                    address=", ".join(wanted.radius.addresses) if wanted.radius else "",
                    up=True,  # it comes when it wants something
                    since_ms=None,
                    version="",
                    open_calls=len(self.charging.open_channels(wanted.name)),
                    detail="",
                )
                for wanted in self.settings.nas
            ]
            + [
                SwitchView(
                    name=name,
                    kind="diameter",
                    address=", ".join(peers),
                    up=bool(peers),
                    since_ms=None,
                    version="",
                    open_calls=len(self.charging.open_channels(name))
                    + len(self.charging.open_channels(client.accounting.name)),
                    detail="",
                )
                for name, client in self.diameter.clients.items()
                for peers in [self.diameter.peers(name)]
            ]
        )

    def take_cdr(self, switch: str, body: bytes, content_type: str) -> None:
        """A switch's own call record. NotFound for a switch that settings do not name."""
        known = self.switches.get(switch)
        if known is None:
            raise NotFound(f"there is no switch {switch}", hint="ocs switch list")
        if self.keeper is None or self.keeper.has(switch):
            known.cdrs.take_post(body, content_type)
        elif not known.cdrs.take_card_post(body, content_type):
            # Refused and not passed on: mod_json_cdr then posts it to the next URL, and loses nothing.
            raise OutsideError(f"{switch} is linked to {self.keeper.holder(switch) or 'nobody'}, not here")

    def prune(self) -> None:
        """Forget what is too old to be asked for. Raises OutsideError."""
        keep_days = self.settings.database.keep_keys_days
        prune = JournalRepository(self.engine).prune_keys
        prune_keys(prune, self.clock.now_ms(), keep_days, apart=apart, pause=gevent.sleep)

    def forfeit(self) -> None:
        """Take what expired before the grace, if settings have one. Raises OutsideError."""
        accounts, observe = AccountRepository(self.engine), self.metrics.forfeited
        grace_days = self.settings.prepaid.forfeit_after_days
        if grace_days is not None:
            ForfeitCredit(accounts, self.committer, self.clock, apart, gevent.sleep, observe)(grace_days)

    def render_metrics(self) -> bytes:
        """The metrics page, with the gauges read now."""
        self.metrics.calls_open(self.charging.calls.open_by_state())
        self.metrics.holds_open(self.charging.calls.open_holds())
        return self.metrics.render()


def build(
    settings: Settings,
    *,
    clock: Clock | None = None,
    jitter: Callable[[], float] = random.random,
) -> System:
    """Everything, ready to start. Raises OutsideError if the database is away or not upgraded."""
    clock = clock or SystemClock()
    metrics = Metrics(__version__)
    engine = open_engine(settings)
    tariffs, book, calls = TariffRepository(engine), TariffBook(), CallRepository(engine)
    refresh_book(tariffs, book, clock.now_ms(), _versions_of_open_calls(calls))
    committer = open_committer(settings, engine, clock, metrics)
    payers, credentials = PayerRepository(engine), UserRepository(engine)
    directory = Directory(payers.payer, clock, payers, apart)
    several = bool(settings.redis.url) and engine.dialect.name == "postgresql"  # SQLite: one daemon
    charging = ChargeCalls(
        Desk(
            ledger=committer,
            tariffs=book,
            directory=directory,
            clock=clock,
            observer=metrics,
            normalise=partial(normalise, plan=settings.numbering.plan()),
            new_call_id=partial(_new_call_id, clock),
            find_call=calls.last_snapshot,
            policy=settings.charging.policy(),
            payer_rules=_payer_rules(settings),
            supplier_rules=tuple(rule.rule() for rule in settings.supplier),
            max_open_calls=settings.charging.max_open_calls,
            alone=not several,
        )
    )
    system = System(
        settings,
        clock,
        metrics,
        engine,
        committer,
        tariffs,
        book,
        directory,
        charging,
        calls,
        make_door=partial(_door, charging, clock, jitter, metrics, SwitchRepository(engine)),
        users=UserDirectory(credentials.view, clock, credentials, apart),
        signals=_signals(settings, metrics),
    )
    if several:
        system.keeper = SwitchKeeper(
            LeaseRepository(engine),
            settings.daemon.full_name(),
            clock,
            lease_ms=settings.daemon.lease_s * 1000,
            take_over=system.take_over,
            let_go=system.let_go,
            announce=system.news.took,
            in_company=lambda: not system.signals.fault,
            strays=system.strays,
        )
    return system


def _door(
    charging: ChargeCalls,
    clock: Clock,
    jitter: Callable[[], float],
    metrics: Metrics,
    lives: SwitchRepository,
    settings: Settings,
    name: str,
) -> FreeSwitch | None:
    wanted = next((switch for switch in settings.freeswitch if switch.name == name), None)
    if wanted is None:
        return None
    config = wanted.config()
    rules = (IGNORE_RULE, *config.rules) if settings.ivr.listen else config.rules
    return FreeSwitch(
        replace(config, rules=rules, fact_variables=_fact_variables(settings)),
        charging,
        clock=clock,
        random=jitter,
        observer=metrics,
        known_core_uuid=lives.core_uuid(name),
        on_core=partial(_keep_core, lives, clock, name),
    )


def _signals(settings: Settings, metrics: Metrics) -> Signals:
    wanted = settings.redis
    if not wanted.url:
        return MemorySignals()
    password = wanted.password.get_secret_value() if wanted.password else None
    return RedisSignals(wanted.url, password, settings.daemon.full_name(), metrics)


def make_simulator(
    settings: Settings, rehearsals: Rehearsals, book: TariffBook, directory: Directory
) -> Simulator:
    """Prices of calls that never happen."""
    policy = settings.charging.policy()
    return Simulator(
        tariffs=book,
        directory=directory,
        normalise=partial(normalise, plan=settings.numbering.plan()),
        rehearse=rehearsals,
        longest_ms=policy.longest_call_ms,
        floor_ms=policy.floor_ms,
    )


def _payer_rules(settings: Settings) -> tuple[Rule, ...]:
    """Who pays for a call from the IVR's menu only the IVR says; for the others the settings."""
    return PAYER_RULE, *(rule.rule() for rule in settings.payer)


def _fact_variables(settings: Settings) -> tuple[str, ...]:
    """The channel variables that payer and supplier rules look at."""
    rules = (*settings.payer, *settings.supplier)
    named = {name for rule in rules for name in (rule.match, *rule.when)}
    return tuple(sorted(name.removeprefix("variable:") for name in named if name.startswith("variable:")))


def _keep_core(lives: SwitchRepository, clock: Clock, name: str, core_uuid: str) -> None:
    """Keep the Core-UUID; without it a restart of the switch while we are away is taken for a link drop."""
    try:
        apart(partial(lives.saw, name, core_uuid, clock.now_ms()))
    except OutsideError as fault:
        log.error("core_not_kept", switch=name, error=fault.message)


def _versions_of_open_calls(calls: CallRepository) -> set[int]:
    return {
        leg.tariff_version_id
        for switch in calls.open_switches()
        for snapshot in calls.open_snapshots(switch)
        for leg in from_row(snapshot).legs
        if leg.tariff_version_id is not None
    }


def _new_call_id(clock: Clock) -> str:
    """Sorts by time, unique across daemons: 11 hexadecimal digits of milliseconds, 64 random bits."""
    return f"{clock.now_ms():011x}{secrets.token_hex(8)}"
