"""What can the API and the command line do? With a daemon everything, offline what the database allows.

`services` fills `ocs.api.services.Services` from a `System`; `offline` makes it on the database alone, for
`ocs … --offline` and set-up scripts.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from sqlalchemy import Engine

from db.check import check
from db.committer import Committer
from db.rehearse import Rehearsals
from db.repositories.accounts import AccountRepository
from db.repositories.calls import CallRepository
from db.repositories.journal import JournalRepository
from db.repositories.payers import PayerRepository
from db.repositories.records import RecordRepository
from db.repositories.users import UserRepository
from db.tariffs import TariffRepository
from ocs import __version__
from ocs.api.services import Readiness, Services
from ocs.errors import OutsideError
from ocs.ports import Clock
from ocs.rating.book import TariffBook
from ocs.runtime.bootstrap import System, make_simulator
from ocs.runtime.clock import SystemClock
from ocs.runtime.database import open_committer, open_engine
from ocs.runtime.inside import LiveCalls
from ocs.runtime.metrics import Metrics
from ocs.runtime.prepaid import make_prepaid
from ocs.runtime.settings import Settings
from ocs.runtime.threads import apart
from ocs.services.directory import Directory
from ocs.services.manage_accounts import ManageAccounts
from ocs.services.manage_tariffs import refresh_book
from ocs.services.simulate import Simulator
from ocs.services.users import ManageUsers


def services(system: System) -> Services:
    """What the API of a running daemon can do."""
    return Services(
        funds_arrived=system.news.funds_arrived,
        terms_changed=system.news.terms_changed,
        tariffs_changed=system.news.tariffs_changed,
        prepaid=system.prepaid,
        calls=LiveCalls(
            system.charging,
            system.calls.find,
            system.news.kill_elsewhere if system.settings.redis.url else lambda call_id, by: False,
        ),
        switches=system.switch_views,
        take_cdr=system.take_cdr,
        nas=system.doors.json,
        nas_token=token.get_secret_value() if (token := system.settings.daemon.nas_token) else None,
        ready=system.readiness,
        render_metrics=system.render_metrics,
        apart=apart,
        cdr_secrets={
            switch.name: switch.cdr_secret.get_secret_value()
            for switch in system.settings.freeswitch
            if switch.cdr_secret is not None
        },
        observe=system.metrics.http_request,
        bad_input=system.metrics.bad_input,
        **_stored(
            system.settings,
            system.engine,
            system.committer,
            system.tariffs,
            system.book,
            system.simulate,
            system.clock,
        ),
    )


@contextmanager
def offline(settings: Settings) -> Iterator[Services]:
    """The same services on the database alone: no calls, no switches."""
    clock = SystemClock()
    engine = open_engine(settings)
    tariffs, book = TariffRepository(engine), TariffBook()
    refresh_book(tariffs, book, clock.now_ms())
    committer = open_committer(settings, engine, clock, Metrics(__version__))
    directory = Directory(PayerRepository(engine).payer, clock)
    rehearsals = Rehearsals(engine)
    simulate = make_simulator(settings, rehearsals, book, directory)
    try:
        yield Services(
            prepaid=make_prepaid(settings.prepaid, engine, committer, clock, apart=apart),
            calls=LiveCalls(None, CallRepository(engine).find),
            switches=list,
            take_cdr=_no_daemon,
            ready=lambda: Readiness({"daemon": "offline"}),
            render_metrics=lambda: b"",
            **_stored(settings, engine, committer, tariffs, book, simulate, clock),
        )
    finally:
        committer.close()
        rehearsals.close()
        engine.dispose()


def _stored(
    settings: Settings,
    engine: Engine,
    committer: Committer,
    tariffs: TariffRepository,
    book: TariffBook,
    simulate: Simulator,
    clock: Clock,
) -> dict[str, Any]:
    """The services that need nothing but the database, live or not."""
    return {
        "accounts": ManageAccounts(
            AccountRepository(engine), committer, clock, credit_valid_ms=settings.prepaid.credit_valid_ms
        ),
        "users": ManageUsers(UserRepository(engine), clock),
        "tariffs": tariffs,
        "book": book,
        "simulate": simulate,
        "records": RecordRepository(engine),
        "journal": JournalRepository(engine),
        "check": partial(check, engine),
        "now_ms": clock.now_ms,
        "max_body_bytes": settings.daemon.max_body_bytes,
        "max_sheet_bytes": settings.daemon.max_sheet_bytes,
    }


def _no_daemon(switch: str, body: bytes, content_type: str) -> None:
    raise OutsideError("records of switches are taken by the daemon", hint="start it: ocs serve")
