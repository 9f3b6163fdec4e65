"""/v1/users: who may call, by credentials; /v1/user-imports: many at once. Secrets come in, never out."""

from __future__ import annotations

from typing import Any, Literal

import falcon
from pydantic import Field

from ocs.api.http import Body, Query, answer, instant, read_json
from ocs.api.resource import Resource
from ocs.api.services import Services
from ocs.errors import CallerError
from ocs.services.import_users import ImportReport, import_users
from ocs.services.users import Secret, UserRecord, format_name, parse_name

MAX_ROW_ERRORS = 1_000
"""Bad rows that an answer names; the message counts them all."""
Status = Literal["active", "blocked"]


class Proof(Body):
    """A password, or its hashes. chap: keep it in clear (with a password; null: as it was)."""

    password: str | None = Field(default=None, max_length=512)
    ha1: str | None = Field(default=None, max_length=64)
    ha1_sha256: str | None = Field(default=None, max_length=128)
    chap: bool | None = None

    def secret(self) -> Secret:
        """For the use-case."""
        return Secret(self.password, self.ha1, self.ha1_sha256, self.chap)


class NewUser(Proof):
    """POST /v1/users."""

    username: str = Field(max_length=512)
    realm: str = Field(default="", max_length=512)
    account: str = Field(max_length=64)


class Change(Proof):
    """PATCH /v1/users/{name}: only what is named changes."""

    account: str = Field(default="", max_length=64)
    status: Status = "active"


class Sheet(Body):
    """POST /v1/user-imports: a file of users as CSV text."""

    csv: str
    dry_run: bool = False


def user_json(record: UserRecord) -> dict[str, Any]:
    """A user as JSON. chap, sha256: what it can be checked by besides MD5."""
    return {
        "name": format_name(record.username, record.realm),
        "username": record.username,
        "realm": record.realm,
        "account": record.account,
        "status": record.status,
        "chap": record.chap,
        "sha256": record.sha256,
        "created_at": instant(record.created_at_ms),
        "changed_at": instant(record.changed_at_ms),
    }


def add_routes(app: falcon.App[falcon.Request, falcon.Response], services: Services) -> None:
    """Mount the topic. A name is one path: it may hold a slash."""
    app.add_route("/v1/users", Users(services))
    app.add_route("/v1/users/{name:path}", OneUser(services))
    app.add_route("/v1/user-imports", Imports(services))


class Users(Resource):
    """/v1/users."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Users by username and realm: account, realm, status, after (a name), limit."""
        query = Query(req)
        account, realm, status = query.text("account"), query.text("realm"), query.text("status")
        after, limit = query.text("after"), query.limit()
        query.done()
        if status not in (None, "active", "blocked"):
            raise CallerError("status must be active or blocked")
        found = self._services.users.list(
            account=account,
            realm=realm,
            status=status,
            after=parse_name(after) if after else None,
            limit=limit,
        )
        answer(resp, {"users": [user_json(record) for record in found]})

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Let somebody call."""
        wanted = self._read(req, NewUser)
        name = wanted.username, wanted.realm
        record = self._services.users.add(name, wanted.account, wanted.secret())
        self._services.terms_changed()
        answer(resp, user_json(record), 201)


class OneUser(Resource):
    """/v1/users/{name}."""

    def on_get(self, _req: falcon.Request, resp: falcon.Response, name: str) -> None:
        """One user."""
        answer(resp, user_json(self._services.users.find(parse_name(name))))

    def on_patch(self, req: falcon.Request, resp: falcon.Response, name: str) -> None:
        """Change what is named: account, status, password."""
        wanted = self._read(req, Change)
        named = wanted.model_fields_set
        if not named:
            raise CallerError("nothing to change")
        record = self._services.users.change(
            parse_name(name),
            account=wanted.account if "account" in named else None,
            status=wanted.status if "status" in named else None,
            secret=wanted.secret() if named & Proof.model_fields.keys() else None,
        )
        self._services.terms_changed()
        answer(resp, user_json(record))

    def on_delete(self, _req: falcon.Request, resp: falcon.Response, name: str) -> None:
        """Take the user away, and answer what it was. Its account stays."""
        record = self._services.users.remove(parse_name(name))
        self._services.terms_changed()
        answer(resp, user_json(record))


class Imports(Resource):
    """/v1/user-imports."""

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Add every user of a file, or none."""
        services = self._services
        sheet = read_json(req, Sheet, services.max_sheet_bytes)
        report = services.apart(
            lambda: import_users(
                services.users.store,
                sheet.csv.splitlines(keepends=True),
                services.now_ms(),
                dry_run=sheet.dry_run,
            )
        )
        if report.errors:
            answer(resp, _bad_sheet(report), 400)
            return
        if not sheet.dry_run:
            services.terms_changed()
        answer(resp, {"users": report.users, "dry_run": sheet.dry_run}, 200 if sheet.dry_run else 201)


def _bad_sheet(report: ImportReport) -> dict[str, Any]:
    return {
        "error": "bad_sheet",
        "message": f"{len(report.errors)} rows of the file cannot be used; nobody was added",
        "hint": "mend the rows and import the whole file again",
        "rows": [{"row": bad.row, "reason": bad.reason} for bad in report.errors[:MAX_ROW_ERRORS]],
    }
