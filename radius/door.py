"""What does a RADIUS packet mean for a call, and what is the answer? The handler behind the server.

Access-Request: who is it (`radius.authenticate`), and if it names a call, may the call start? Accounting: the
call began, lives, is over. Every accounting answer comes after the commit (RFC 2866); when nothing could be
committed there is silence, and the NAS asks again.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import ChainMap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import structlog

from ocs.errors import OutsideError
from ocs.money import format_amount
from ocs.ports import Clock
from ocs.refusals import Refusal
from ocs.services.nas import Nas, Report, Verdict
from ocs.services.refusal_codes import H323_CODES, H323_INVALID_PASSWORD, H323_SUCCESS, SIP_ANSWERS
from ocs.services.reply_templates import fields_of, fill_all
from ocs.services.users import UserView
from ocs.sessions.events import EndedBy
from ocs.values import quick_value
from radius import digest
from radius.attributes import OURS, AttributeMap, Facts, Status, read
from radius.authenticate import Authenticated, Authenticator, AuthPolicy, Challenge, Denied
from radius.clients import Client
from radius.observe import Observer
from radius.packets import Code, Reply, Request, hidden_password

log = structlog.get_logger("ocs.radius")

AUTHORIZE_ONLY: Final = frozenset({17, 30})
"""Service-Type Authorize Only (RFC 5176 3.1), and SIP-Caller-AVPs, Kamailio's question without a digest."""
_USER_PASSWORD: Final = 2
_CREDENTIALS: Final = frozenset({_USER_PASSWORD, 3, 103, 206, 207})
"""User-Password, CHAP-Password, Digest-Response of RFC 5090 and of the draft, Digest-Attributes."""
CALL_METHODS: Final = frozenset({b"", b"INVITE"})
"""Methods that a call may begin with (a NAS that shows no digest names none). Of others, of a BYE above all,
only the digest is checked."""
LONGEST_SESSION_TIMEOUT_S: Final = 0x7FFFFFFF
"""Some NAS read it as a signed number."""


@dataclass(frozen=True)
class DoorPolicy:
    """How one client is treated; in settings a `[[nas]]` with its radius table.

    credentials: what its users may prove themselves by. by_number: a calling number with number_password
    (None: with any) needs no user. vouches: Service-Type 17 and 30 need no credentials.
    *_attributes: (name, template) of more attributes. silent_when_unavailable: no answer to a new call that
    could not be decided, so that the NAS asks its next server.
    """

    nas: Nas
    attribute_map: AttributeMap
    credentials: AuthPolicy
    by_number: bool = False
    number_password: bytes | None = field(default=None, repr=False)
    vouches: bool = False
    interim_s: int = 60
    h323: bool = False
    accept_attributes: tuple[tuple[str, str], ...] = ()
    reject_attributes: tuple[tuple[str, str], ...] = ()
    silent_when_unavailable: bool = False


@quick_value
class Caller:
    """Who calls: a user, or (None) whoever the NAS vouches for. attributes: for the Access-Accept."""

    user: UserView | None = None
    attributes: tuple[tuple[str, str], ...] = ()


NOBODY: Final = Caller()


class RadiusDoor:
    """`radius.intake.Handler` of every client whose `door` is a `DoorPolicy`."""

    def __init__(self, authenticator: Authenticator, clock: Clock, observer: Observer | None = None) -> None:
        self._authenticator = authenticator
        self._clock = clock
        self._observer = observer or Observer()
        self._reports: dict[Status, Callable[[Nas, Report], bool]] = {
            Status.START: Nas.started,
            Status.INTERIM: Nas.alive,
            Status.STOP: Nas.stopped,
            Status.FAILED: Nas.failed,
        }

    def handle(self, request: Request, client: Client) -> Reply | None:
        """The answer; None: silence."""
        policy: DoorPolicy = client.door
        facts = read(request, policy.attribute_map, self._clock.now_ms())
        try:
            if request.code == Code.ACCESS_REQUEST:
                return self._access(request, client, policy, facts)
            return self._accounting(request, client, policy, facts)
        except OutsideError as fault:
            log.error("radius_unavailable", client=client.name, error=fault.message)
            if request.code != Code.ACCESS_REQUEST or policy.silent_when_unavailable:
                return None
            return self._reject(policy, Refusal.UNAVAILABLE)

    # --- Access-Request -----------------------------------------------------------------------------

    def _access(self, request: Request, client: Client, policy: DoorPolicy, facts: Facts) -> Reply | None:
        known = self._who(request, client, policy)
        if isinstance(known, Challenge):
            return _with(Reply(Code.ACCESS_CHALLENGE), known.attributes)
        if isinstance(known, Denied):
            self._observer.bad(client.name, known.reason)
            log.info("radius_denied", client=client.name, user=facts.user, why=known.reason.value)
            fields = {"reason": "not_authenticated", "sip_code": "403"}
            return self._no(policy, "Not authenticated", H323_INVALID_PASSWORD, fields)
        if digest.method(request) not in CALL_METHODS or not _calls(request, policy):
            return _with(Reply(Code.ACCESS_ACCEPT), known.attributes)
        verdict = policy.nas.authorise(_report(request, client, policy, facts, known))
        if verdict.granted and verdict.left_ms < 1_000:  # a call at its end; some NAS take 0 for no limit
            verdict = replace(verdict, refusal=Refusal.INSUFFICIENT_FUNDS)
        if verdict.refusal is None:
            return self._accept(policy, verdict, known)
        if verdict.refusal in (Refusal.UNAVAILABLE, Refusal.OVERLOADED) and policy.silent_when_unavailable:
            return None
        return self._reject(policy, verdict.refusal, verdict)

    def _who(self, request: Request, client: Client, policy: DoorPolicy) -> Caller | Challenge | Denied:
        """By its credentials, if it shows any; else only where the NAS may vouch for its callers."""
        shown = request.attributes.keys() & _CREDENTIALS
        if policy.by_number and shown <= {_USER_PASSWORD}:
            password = hidden_password(request, client.secret) or b""
            if policy.number_password is None or hmac.compare_digest(password, policy.number_password):
                return NOBODY
        if not shown and policy.vouches and request.integer("Service-Type") in AUTHORIZE_ONLY:
            return NOBODY
        known = self._authenticator.authenticate(request, client.name, client.secret, policy.credentials)
        return Caller(known.user, known.attributes) if isinstance(known, Authenticated) else known

    def _accept(self, policy: DoorPolicy, verdict: Verdict, known: Caller) -> Reply:
        seconds = min(verdict.left_ms // 1000, LONGEST_SESSION_TIMEOUT_S)
        session = verdict.session
        reply = Reply(Code.ACCESS_ACCEPT).add("Session-Timeout", seconds)
        if policy.interim_s:
            reply.add("Acct-Interim-Interval", policy.interim_s)
        reply.add("Class", f"{OURS}{session.call_id}")
        if policy.h323:
            reply.add("h323-return-code", str(H323_SUCCESS)).add("h323-credit-time", str(seconds))
            if verdict.credit_ticks is not None and session.legs:
                currency = session.legs[0].currency
                reply.add("h323-credit-amount", format_amount(verdict.credit_ticks, currency))
                reply.add("h323-currency", currency)
        return _filled(_with(reply, known.attributes), policy.accept_attributes, fields_of(verdict))

    def _reject(self, policy: DoorPolicy, refusal: Refusal, verdict: Verdict | None = None) -> Reply:
        fields = {"reason": refusal.value, "sip_code": str(SIP_ANSWERS[refusal].code)}
        if verdict is not None:
            fields = fields_of(verdict)
        return self._no(policy, SIP_ANSWERS[refusal].phrase, H323_CODES[refusal], fields)

    def _no(self, policy: DoorPolicy, text: str, h323_code: int, fields: Mapping[str, str]) -> Reply:
        reply = Reply(Code.ACCESS_REJECT).add("Reply-Message", text)
        if policy.h323:
            reply.add("h323-return-code", str(h323_code))
        return _filled(reply, policy.reject_attributes, fields)

    # --- Accounting-Request -------------------------------------------------------------------------

    def _accounting(self, request: Request, client: Client, policy: DoorPolicy, facts: Facts) -> Reply | None:
        if facts.status in (Status.ON, Status.OFF):
            kept = policy.nas.restarted(facts.at_ms)
        elif facts.bogus:
            self._observer.bad(client.name, "not_a_call")
            kept = True
        elif (tell := self._reports.get(facts.status or Status.OTHER)) is None:
            self._observer.bad(client.name, "status_type")
            kept = True
        elif not facts.session_id and not facts.route_call_id:
            self._observer.bad(client.name, "no_session_id")
            kept = True
        else:
            kept = tell(policy.nas, _report(request, client, policy, facts))
        return Reply(Code.ACCOUNTING_RESPONSE) if kept else None


# --- translation --------------------------------------------------------------------------------


def _report(
    request: Request, client: Client, policy: DoorPolicy, facts: Facts, known: Caller = NOBODY
) -> Report:
    channel = policy.nas.channel_of(facts.route_call_id) if facts.route_call_id else None
    return Report(
        channel=channel or facts.session_id or _unnamed(request),
        at_ms=facts.at_ms,
        origin=facts.origin or facts.user,
        destination=facts.destination,
        attributes=_payer_facts(request, client, facts, known),
        handles=facts.handles,
        event_at_ms=facts.event_at_ms,
        talk_ms=facts.talk_ms,
        answered=facts.answered,
        cause=facts.cause,
        ended_by=EndedBy.UNKNOWN,
    )


def _unnamed(request: Request) -> str:
    """A NAS that asks without Acct-Session-Id names the call later, by the Class that we give it."""
    return "access:" + hashlib.sha256(request.authenticator + bytes([request.identifier])).hexdigest()[:32]


def _calls(request: Request, policy: DoorPolicy) -> bool:
    """Does it say where to? A number that cannot be read is one too: who may write it shall not call free."""
    return any(request.octets(name) or request.text(name) for name in policy.attribute_map.destination)


def _payer_facts(request: Request, client: Client, facts: Facts, known: Caller) -> Mapping[str, str]:
    told = {"from_user": facts.user, "nas_kind": client.kind}
    if (source := request.address("Sip-Src-IP")) is not None:
        told["source_ip"] = source
    if known.user is not None:
        told["sip_user"] = known.user.username
        told["accountcode"] = known.user.account
    elif client.door.vouches and facts.user:
        told["sip_user"] = facts.user
    return ChainMap(told, facts.attributes)  # type: ignore[arg-type]  # it is only read


def _with(reply: Reply, attributes: tuple[tuple[str, str], ...]) -> Reply:
    for name, value in attributes:
        reply.add(name, value)
    return reply


def _filled(reply: Reply, templates: tuple[tuple[str, str], ...], fields: Mapping[str, str]) -> Reply:
    for name, template in templates:
        for value in fill_all([template], fields):
            reply.add(name, value)
    return reply
