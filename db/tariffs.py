"""How are tariffs kept? Versions with their terms, rates in bulk, exchange rates by date.

Rates are written and read by the million, so both ways go straight to the driver: COPY on PostgreSQL,
executemany on SQLite. A version appears at once and never changes after, but for its withdrawal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, cast

from sqlalchemy import Connection, Engine, RowMapping, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from db.engine import reading, writing
from db.tables import fx_rates, rates, tariff_versions
from ocs.errors import Conflict, NotFound
from ocs.rating.book import FxRate
from ocs.rating.tariff import RateTable, Tariff, VersionInfo
from ocs.rating.terms import parse_terms

CHUNK = 10_000
"""Rates in one transaction, or in one fetch: some tens of milliseconds."""

UNDER_WAY = -1
"""`rate_count` of a version that is still being written."""

ABANDONED_MS = 3_600_000
"""An import that is not done an hour after it began was killed."""

RateRow = tuple[str, str, str]
"""(prefix, name, spec)"""


class TariffRepository:
    """`ocs.services.manage_tariffs.TariffStore` on SQLite or PostgreSQL."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add_version(
        self,
        tariff: str,
        terms: Mapping[str, Any],
        rows: Sequence[RateRow],
        *,
        effective_from_ms: int,
        imported_at_ms: int,
        source: str = "",
        digest: str = "",
        on_progress: Callable[[int], None] | None = None,
    ) -> VersionInfo:
        """Write a version and its rates; nobody sees it before it is whole.

        In many short transactions, since SQLite has one writer at a time and calls must not wait for a
        million rates. What an import that was killed left behind is swept by a later one. Raises Conflict if
        another import of the tariff came in between.
        """
        values = {
            "tariff": tariff,
            "currency": terms["currency"],
            "effective_from_ms": effective_from_ms,
            "terms": dict(terms),
            "source": source[:200],
            "digest": digest,
            "imported_at_ms": imported_at_ms,
        }
        self._sweep(imported_at_ms - ABANDONED_MS)
        version_id, version = self._announce(values)
        rest = ((version_id, number, *row) for number, row in enumerate(rows, start=1))
        written = 0
        while chunk := list(islice(rest, CHUNK)):
            with writing(self._engine) as connection:
                _write_rates(connection, chunk)
            written += len(chunk)
            if on_progress:
                on_progress(written)
        with writing(self._engine) as connection:
            connection.execute(
                update(tariff_versions)
                .where(tariff_versions.c.tariff_version_id == version_id)
                .values(rate_count=written)
            )
        return VersionInfo(version_id=version_id, version=version, rate_count=written, **values)

    def _announce(self, values: Mapping[str, Any]) -> tuple[int, int]:
        """Take the next version number; returns (id, version) of a row that counts as under way."""
        try:
            with writing(self._engine) as connection:
                last = connection.scalar(
                    select(func.max(tariff_versions.c.version)).where(
                        tariff_versions.c.tariff == values["tariff"]
                    )
                )
                version = (last or 0) + 1
                done = connection.execute(
                    insert(tariff_versions).values(**values, version=version, rate_count=UNDER_WAY)
                )
                return cast(tuple[int], done.inserted_primary_key)[0], version
        except IntegrityError as error:
            raise Conflict(
                f"another import of tariff {values['tariff']} happened at the same time", hint="import again"
            ) from error

    def _sweep(self, before_ms: int) -> None:
        """Delete versions that were begun before then and never finished, in short transactions."""
        abandoned = select(tariff_versions.c.tariff_version_id).where(
            tariff_versions.c.rate_count == UNDER_WAY, tariff_versions.c.imported_at_ms < before_ms
        )
        with reading(self._engine) as connection:
            version_ids = list(connection.scalars(abandoned))
        for version_id in version_ids:
            of_version = rates.c.tariff_version_id == version_id
            gone = CHUNK
            while True:
                with writing(self._engine) as connection:
                    done = connection.execute(delete(rates).where(of_version, rates.c.row_no <= gone))
                if not done.rowcount:
                    break
                gone += CHUNK
            with writing(self._engine) as connection:
                connection.execute(
                    delete(tariff_versions).where(tariff_versions.c.tariff_version_id == version_id)
                )

    def versions(self, tariff: str | None = None) -> list[VersionInfo]:
        """All versions, or those of one tariff, oldest first."""
        query = (
            select(tariff_versions)
            .where(tariff_versions.c.rate_count != UNDER_WAY)
            .order_by(tariff_versions.c.tariff, tariff_versions.c.version)
        )
        if tariff is not None:
            query = query.where(tariff_versions.c.tariff == tariff)
        with reading(self._engine) as connection:
            return [_info(row._mapping) for row in connection.execute(query)]

    def load(self, info: VersionInfo) -> Tariff:
        """A version with its rates, ready to price."""
        with reading(self._engine) as connection:
            return Tariff(info, parse_terms(info.terms), RateTable(_read_rates(connection, info.version_id)))

    def withdraw(self, version_id: int, at_ms: int) -> None:
        """No call that is answered from `at_ms` on gets this version. Raises NotFound."""
        with writing(self._engine) as connection:
            done = connection.execute(
                update(tariff_versions)
                .where(tariff_versions.c.tariff_version_id == version_id)
                .values(withdrawn_at_ms=at_ms)
            )
            if not done.rowcount:
                raise NotFound(f"there is no tariff version {version_id}")

    def fx_rates(self) -> list[FxRate]:
        """Every exchange rate ever set."""
        with reading(self._engine) as connection:
            return [FxRate(*row) for row in connection.execute(select(fx_rates))]

    def add_fx_rate(self, rate: FxRate) -> None:
        """Write an exchange rate. Raises Conflict if the pair has one from the same moment."""
        try:
            with writing(self._engine) as connection:
                connection.execute(
                    insert(fx_rates).values(
                        base=rate.base,
                        quote=rate.quote,
                        effective_from_ms=rate.effective_from_ms,
                        rate=rate.rate,
                    )
                )
        except IntegrityError as error:
            raise Conflict(
                f"{rate.base}/{rate.quote} has a rate from that moment already", hint="give a later moment"
            ) from error


def _info(row: RowMapping) -> VersionInfo:
    values: dict[str, Any] = {str(key): value for key, value in row.items()}
    return VersionInfo(version_id=values.pop("tariff_version_id"), **values)


def _write_rates(connection: Connection, chunk: Sequence[tuple[int, int, str, str, str]]) -> None:
    columns = "tariff_version_id, row_no, prefix, name, spec"
    cursor = cast(Any, connection.connection.cursor())
    try:
        if connection.dialect.name == "postgresql":
            with cursor.copy(f"COPY {rates.name} ({columns}) FROM STDIN") as copy:
                for row in chunk:
                    copy.write_row(row)
        else:
            cursor.executemany(f"INSERT INTO {rates.name} ({columns}) VALUES (?, ?, ?, ?, ?)", chunk)
    finally:
        cursor.close()


def _read_rates(connection: Connection, version_id: int) -> Iterator[RateRow]:
    """In the order of the sheet. By the driver's own cursor: a million SQLAlchemy rows take seconds."""
    mark = "%s" if connection.dialect.name == "postgresql" else "?"
    query = f"SELECT prefix, name, spec FROM {rates.name} WHERE tariff_version_id = {mark} ORDER BY row_no"
    raw = cast(Any, connection.connection)
    # Named: the cursor stays on the server, and the client holds one chunk at a time.
    cursor = raw.cursor(name="ocs_rates") if connection.dialect.name == "postgresql" else raw.cursor()
    try:
        cursor.execute(query, (version_id,))
        while chunk := cursor.fetchmany(CHUNK):
            yield from cast(list[RateRow], chunk)
    finally:
        cursor.close()
