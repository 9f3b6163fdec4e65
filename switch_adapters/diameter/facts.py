"""Who pays and who calls whom? What a request says of it, as facts for the payer rules of settings.

Subscription-Id stands at the top level (RFC 8506 8.46), in Service-Information (TS 32.299), or in both.
Where there is none, the party on whose side the node stands is the subscriber: the caller at an originating
node, the callee at a terminating one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from ocs.services.sip_names import user_part
from switch_adapters.diameter.codes import RoleOfNode, SubscriptionIdType
from switch_adapters.diameter.names import (
    ACCESS_NETWORK_INFORMATION,
    ADDRESS_DATA,
    APPLICATION_PROVIDED_CALLED_PARTY_ADDRESS,
    APPLICATION_SERVER_INFORMATION,
    CALLED_PARTY_ADDRESS,
    CALLING_PARTY_ADDRESS,
    DEFINITIONS,
    IMS_INFORMATION,
    INCOMING_TRUNK_GROUP_ID,
    ORIGIN_HOST,
    ORIGIN_REALM,
    OUTGOING_TRUNK_GROUP_ID,
    RECIPIENT_INFO,
    ROLE_OF_NODE,
    SERVICE_CONTEXT_ID,
    SERVICE_INFORMATION,
    SMS_INFORMATION,
    SUBSCRIPTION_ID,
    SUBSCRIPTION_ID_DATA,
    SUBSCRIPTION_ID_TYPE,
    TGPP,
    TRUNK_GROUP_ID,
    USER_NAME,
    USER_SESSION_ID,
    Kind,
    Name,
    named,
)
from switch_adapters.diameter.wire import Avps, BadMessage, Group, Message

AVP_FACT: Final = "avp:"
"""Begins the fact that any AVP is: "avp:Service-Information.IMS-Information.Originating-IOI"."""

_VISUAL: Final = str.maketrans("", "", " -.()")
_MOST_SUBSCRIPTIONS: Final = 16
_KINDS: Final = {
    SubscriptionIdType.E164: "e164",
    SubscriptionIdType.IMSI: "imsi",
    SubscriptionIdType.SIP_URI: "sip_uri",
    SubscriptionIdType.NAI: "nai",
    SubscriptionIdType.PRIVATE: "private",
}
_ROLES: Final = {
    RoleOfNode.ORIGINATING: "originating",
    RoleOfNode.TERMINATING: "terminating",
    RoleOfNode.PROXY: "proxy",
    RoleOfNode.B2BUA: "b2bua",
}


@dataclass(frozen=True, slots=True)
class Parties:
    """What every request is asked for. calling, called: as they came, URIs or numbers; call: User-Session-ID,
    which is the Call-ID of SIP."""

    role: int | None = None
    calling: str = ""
    called: str = ""
    call: str = ""
    subscriptions: Mapping[str, str] = field(default_factory=dict)
    """The first of each kind, normalised, in the order they came; see `facts` for the kinds."""
    ims: Group | None = None

    @property
    def origin(self) -> str:
        """The caller's number or name."""
        return user_part(self.calling)

    @property
    def destination(self) -> str:
        """The number that was called, as it was."""
        return user_part(self.called)


def read_parties(message: Message) -> Parties:
    """Read what matters of all groups at once, so that a bad one is found before anything is done.

    Raises BadMessage.
    """
    information = message.group(SERVICE_INFORMATION)
    ims = information.group(IMS_INFORMATION) if information is not None else None
    sms = information.group(SMS_INFORMATION) if information is not None else None
    role, calling, called, call = None, "", "", ""
    if ims is not None:
        role = ims.i32(ROLE_OF_NODE)
        calling = _best(ims.texts(CALLING_PARTY_ADDRESS))
        called = _best(ims.texts(CALLED_PARTY_ADDRESS))
        call = ims.text(USER_SESSION_ID) or ""
    if sms is not None:
        calling = calling or _address(sms.group(ORIGINATOR_RECEIVED_ADDRESS))
        recipient = sms.group(RECIPIENT_INFO)
        called = called or _address(recipient.group(RECIPIENT_ADDRESS) if recipient is not None else None)
    found = message.groups(SUBSCRIPTION_ID, _MOST_SUBSCRIPTIONS)
    if information is not None:
        found += information.groups(SUBSCRIPTION_ID, _MOST_SUBSCRIPTIONS)
    subscriptions: dict[str, str] = {}
    for group in found:
        kind = _KINDS.get(group.i32(SUBSCRIPTION_ID_TYPE))  # type: ignore[call-overload]  # None is none of them
        data = group.text(SUBSCRIPTION_ID_DATA)
        if kind is not None and data:
            subscriptions.setdefault(kind, _normalised(kind, data))
    charged = called if role == RoleOfNode.TERMINATING else calling
    if not subscriptions and charged:
        kind = "sip_uri" if charged.lower().startswith(("sip:", "sips:")) else "e164"
        subscriptions[kind] = _normalised(kind, charged)
    return Parties(role, calling, called, call, subscriptions, ims)


class Facts(Mapping[str, str]):
    """The facts of one request, each read when a rule asks for it.

    subscription, subscription.e164 …: see `_FACTS`. What is not there, or cannot be read, is not there.
    """

    __slots__ = ("_known", "_message", "_parties")

    def __init__(self, message: Message, parties: Parties) -> None:
        self._message = message
        self._parties = parties
        self._known: dict[str, str] = {}

    def __getitem__(self, name: str) -> str:
        value = self._known.get(name)
        if value is None:
            try:
                value = self._read(name)
            except BadMessage:
                value = ""
            self._known[name] = value
        if not value:
            raise KeyError(name)
        return value

    def __iter__(self) -> Iterator[str]:
        return (name for name in _FACTS if name in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _read(self, name: str) -> str:
        read = _FACTS.get(name)
        if read is not None:
            return read(self._message, self._parties)
        return _by_path(self._message, name[len(AVP_FACT) :]) if name.startswith(AVP_FACT) else ""


def check_path(path: str) -> str:
    """The AVP path of a fact in settings, as it is. Raises ValueError for one that cannot be."""
    names = _path(path)
    for name in names[:-1]:
        if DEFINITIONS[name].kind is not Kind.GROUPED:
            raise ValueError(f"{DEFINITIONS[name].title} is not a group")
    if DEFINITIONS[names[-1]].kind is Kind.GROUPED:
        raise ValueError(f"{DEFINITIONS[names[-1]].title} is a group: name an AVP in it")
    return path


RECIPIENT_ADDRESS: Final = Name(1201, TGPP)
ORIGINATOR_RECEIVED_ADDRESS: Final = Name(2027, TGPP)
"""Of SMS-Information (TS 32.299 7.2.170, 7.2.121)."""


def _best(addresses: list[str]) -> str:
    """Of several addresses of one party (TS 32.299 7.2.33) the telephone number, else the first."""
    numbers = [text for text in addresses if text.lower().startswith("tel:")]
    return (numbers or addresses or [""])[0]


def _address(group: Group | None) -> str:
    return (group.text(ADDRESS_DATA) or "") if group is not None else ""


def _normalised(kind: str, data: str) -> str:
    if kind == "e164":
        return user_part(data).translate(_VISUAL).removeprefix("+")
    if kind == "sip_uri":
        return _bare_uri(data)
    return data


def _bare_uri(text: str) -> str:
    """ "sip:Bob@Example.com;user=phone" as "Bob@example.com"; without a scheme as it is."""
    scheme, colon, rest = text.partition(":")
    if not colon or scheme.lower() not in ("sip", "sips"):
        return text if scheme.lower() != "tel" else user_part(text)
    user, at, host = rest.partition(";")[0].partition("?")[0].rpartition("@")
    return f"{user}{at}{host.lower()}"


def _first(message: Message, parties: Parties) -> str:
    return next(iter(parties.subscriptions.values()), "")


def _number(message: Message, parties: Parties) -> str:
    """Digits of the subscriber's E.164 number: by itself, or as the user of a SIP URI."""
    if number := parties.subscriptions.get("e164"):
        return number
    user = user_part("sip:" + parties.subscriptions.get("sip_uri", ""))
    digits = user.translate(_VISUAL).removeprefix("+")
    return digits if user.startswith("+") and digits.isascii() and digits.isdigit() else ""


def _user(message: Message, parties: Parties) -> str:
    for kind in ("sip_uri", "nai", "e164", "imsi", "private"):
        if value := parties.subscriptions.get(kind):
            return value.rpartition("@")[0] or value
    return ""


def _of_kind(kind: str) -> Callable[[Message, Parties], str]:
    return lambda message, parties: parties.subscriptions.get(kind, "")


def _text(name: Name) -> Callable[[Message, Parties], str]:
    return lambda message, parties: message.text(name) or ""


def _in_ims(*path: Name) -> Callable[[Message, Parties], str]:
    def read(message: Message, parties: Parties) -> str:
        group = parties.ims
        for name in path[:-1]:
            group = group.group(name) if group is not None else None
        return (group.text(path[-1]) or "") if group is not None else ""

    return read


_FACTS: Final[Mapping[str, Callable[[Message, Parties], str]]] = {
    "subscription": _first,
    "subscription.number": _number,
    "subscription.user": _user,
    **{f"subscription.{kind}": _of_kind(kind) for kind in _KINDS.values()},
    "user_name": lambda message, parties: _bare_uri(message.text(USER_NAME) or ""),
    "service_context": _text(SERVICE_CONTEXT_ID),
    "origin_host": lambda message, parties: (message.text(ORIGIN_HOST) or "").lower(),
    "origin_realm": lambda message, parties: (message.text(ORIGIN_REALM) or "").lower(),
    "role": lambda message, parties: _ROLES.get(parties.role, ""),  # type: ignore[call-overload]
    "calling_party": lambda message, parties: _bare_uri(parties.calling),
    "called_party": lambda message, parties: _bare_uri(parties.called),
    "from_user": lambda message, parties: parties.origin,
    "dialled": lambda message, parties: parties.destination,
    "user_session": lambda message, parties: parties.call,
    "trunk_group.incoming": _in_ims(TRUNK_GROUP_ID, INCOMING_TRUNK_GROUP_ID),
    "trunk_group.outgoing": _in_ims(TRUNK_GROUP_ID, OUTGOING_TRUNK_GROUP_ID),
    "access_network": _in_ims(ACCESS_NETWORK_INFORMATION),
    "application_party": _in_ims(APPLICATION_SERVER_INFORMATION, APPLICATION_PROVIDED_CALLED_PARTY_ADDRESS),
}
FACTS: Final = frozenset(_FACTS)
"""Facts of a Diameter request that rules may look at, besides those of `AVP_FACT`."""


def _path(path: str) -> list[Name]:
    found = []
    for title in path.split("."):
        name = named(title)
        if name is None:
            raise ValueError(f"{title!r} is not an AVP that we know; write it as the standards do")
        found.append(name)
    return found


def _by_path(message: Message, path: str) -> str:
    *groups, last = _path(path)
    level: Avps | None = message
    for name in groups:
        level = level.group(name) if level is not None else None
    if level is None or not level.has(last):
        return ""
    match DEFINITIONS[last].kind:
        case Kind.TEXT | Kind.OCTETS:
            return level.text(last) or ""
        case Kind.U32:
            return str(level.u32(last))
        case Kind.U64:
            return str(level.u64(last))
        case Kind.I32:
            return str(level.i32(last))
        case Kind.I64:
            return str(level.i64(last))
        case Kind.ADDRESS:
            return level.address(last) or ""
        case Kind.TIME:
            return str((level.time_ms(last) or 0) // 1000)
        case _:
            return ""
