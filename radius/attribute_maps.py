"""Which attributes of a client's packets say what? One `AttributeMap` a kind of client, as data.

Each field lists attribute names, tried in order; settings may replace any list (`merged`). What lists cannot
say, because a kind of client is odd in a way of its own, is a field with a name and its reason here:

    start_is_answer   mod_radius_cdr sends Start when it routes the call, Cisco when a leg is set up: there a
                      Start that states no time of answer is none. Kamailio's comes with the 200 to INVITE.
    counted_legs      Cisco and FreeSWITCH report each leg of a call. Cisco's share the h323-conf-id, which
                      names the call, and either may count; FreeSWITCH's outbound leg would be a second call.
    hexadecimal       h323-disconnect-cause is Q.850 in hexadecimal digits.
    phantom_ids       Kamailio accounts a request of its own making where there is none to account.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any, Final

from radius.names import Key, Names, View

Attributes = tuple[str, ...]

_SHAPES: Final = 1_000
"""Sets of attributes that a map is kept for; past it all are forgotten."""


@dataclass(frozen=True, slots=True)
class AttributeMap:
    """Names that are tried in order; the first that is there and readable wins.

    talk_s, talk_us: a duration in seconds, in microseconds (its lower 32 bits). answered_at, ended_at: times,
    as `radius.moments` reads them. leg: which leg a packet is about. other_leg: present only in packets about
    a leg that another one made. counted_legs: values of `leg` that count; none: all do. phantom_ids: session
    ids of packets about no call. handles: see `radius.attributes.Facts`.
    """

    session_id: Attributes = ("Acct-Session-Id",)
    user: Attributes = ("User-Name",)
    origin: Attributes = ("Calling-Station-Id",)
    destination: Attributes = ("Called-Station-Id",)
    talk_s: Attributes = ("Acct-Session-Time",)
    talk_us: Attributes = ()
    answered_at: Attributes = ()
    ended_at: Attributes = ()
    cause: Attributes = ("Acct-Terminate-Cause",)
    hexadecimal: Attributes = ()
    leg: Attributes = ()
    other_leg: Attributes = ()
    counted_legs: Attributes = ()
    call_class: Attributes = ("Class",)
    start_is_answer: bool = True
    phantom_ids: Attributes = ()
    handles: Mapping[str, Attributes] = field(
        default_factory=lambda: MappingProxyType(
            {
                "session_id": ("Acct-Session-Id",),
                "multi_session_id": ("Acct-Multi-Session-Id",),
                "user_name": ("User-Name",),
                "nas_ip": ("NAS-IP-Address",),
                "nas_ipv6": ("NAS-IPv6-Address",),
                "nas_identifier": ("NAS-Identifier",),
                "nas_port": ("NAS-Port",),
                "nas_port_id": ("NAS-Port-Id",),
                "calling": ("Calling-Station-Id",),
                "called": ("Called-Station-Id",),
                "class": ("Class",),
            }
        )
    )
    _narrowed: dict[tuple[View, tuple[Key, ...]], AttributeMap] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def narrowed(self, view: View, keys: tuple[Key, ...]) -> AttributeMap:
        """The map without the names that a packet of these attributes cannot show: it reads the same.

        Kept, for a NAS sends packets of few shapes, and most names are in none of them.
        """
        found = self._narrowed.get((view, keys))
        if found is None:
            if len(self._narrowed) >= _SHAPES:
                self._narrowed.clear()
            found = self._narrowed[view, keys] = _narrow(self, view.names_of(keys))
        return found


_NAME_LISTS: Final = (
    "session_id", "user", "origin", "destination", "talk_s", "talk_us", "answered_at", "ended_at", "cause",
    "hexadecimal", "leg", "other_leg", "call_class",
)  # fmt: skip
"""Fields that list names."""


def _narrow(whole: AttributeMap, shown: Container[str]) -> AttributeMap:
    def left(names: Attributes) -> Attributes:
        return tuple(name for name in names if name.partition(":")[0] in shown)

    lists: dict[str, Any] = {name: left(getattr(whole, name)) for name in _NAME_LISTS}
    handles = {handle: names for handle, listed in whole.handles.items() if (names := left(listed))}
    return replace(whole, **lists, handles=MappingProxyType(handles))


_GENERIC: Final = AttributeMap()

KINDS: Final[Mapping[str, AttributeMap]] = {
    "generic": _GENERIC,
    "kamailio": AttributeMap(
        user=("User-Name", "Sip-Uri-User"),
        # A Stop has no code of its own, it says by which method: BYE or CANCEL.
        cause=("Acct-Terminate-Cause", "Sip-Response-Code", "Sip-Method"),
        # Call-ID and From tag of its own request (kam_29).
        phantom_ids=("123",),
        handles=MappingProxyType(
            {"call_id": ("Acct-Session-Id",), "from_tag": ("Sip-From-Tag",), "to_tag": ("Sip-To-Tag",)}
        ),
    ),
    "cisco": AttributeMap(
        session_id=("h323-conf-id", "Cisco-AVPair:h323-conf-id", "Acct-Session-Id"),
        answered_at=("h323-connect-time", "Cisco-AVPair:h323-connect-time"),
        ended_at=("h323-disconnect-time", "Cisco-AVPair:h323-disconnect-time"),
        cause=("h323-disconnect-cause", "Cisco-AVPair:h323-disconnect-cause", "Acct-Terminate-Cause"),
        hexadecimal=("h323-disconnect-cause", "Cisco-AVPair:h323-disconnect-cause"),
        leg=("h323-call-origin", "Cisco-AVPair:h323-call-origin"),
        start_is_answer=False,
        handles=MappingProxyType(
            {**_GENERIC.handles, "conf_id": ("h323-conf-id",), "call_origin": ("h323-call-origin",)}
        ),
    ),
    "freeswitch": AttributeMap(
        # mod_xml_radius asks with h323-conf-id, mod_radius_cdr accounts with Acct-Session-Id: both the uuid.
        session_id=("Acct-Session-Id", "h323-conf-id"),
        origin=("Freeswitch-Src", "Calling-Station-Id"),
        destination=("Freeswitch-Dst", "Called-Station-Id"),
        talk_us=("Freeswitch-Billusec",),
        answered_at=("Freeswitch-Callanswerdate",),
        ended_at=("Freeswitch-Callenddate",),
        cause=("Freeswitch-Hangupcause", "Acct-Terminate-Cause"),
        leg=("Freeswitch-Direction",),
        other_leg=("Freeswitch-Other-Leg-Id",),
        counted_legs=("inbound",),
        start_is_answer=False,
    ),
}
"""Maps by kind of client, as they are without settings."""


def merged(kind: str, overrides: Mapping[str, Any]) -> AttributeMap:
    """The map of a kind with fields replaced by settings: lists of names; for `start_is_answer` true or
    false; for `handles` a table of lists, which replace those of the same name.

    Raises ValueError for what is no kind, no field, or of the wrong shape.
    """
    if kind not in KINDS:
        raise ValueError(f"no kind of client is called {kind!r}; there are {', '.join(KINDS)}")
    base = KINDS[kind]
    known = {each.name for each in fields(AttributeMap) if each.init}
    changes: dict[str, Any] = {}
    for name, value in overrides.items():
        if name not in known:
            raise ValueError(f"no field is called {name!r}; there are {', '.join(sorted(known))}")
        if name == "start_is_answer":
            if not isinstance(value, bool):
                raise ValueError(f"{name}: true or false")
            changes[name] = value
        elif name == "handles":
            if not isinstance(value, Mapping):
                raise ValueError("handles: a table of lists")
            handles = {handle: _names(f"handles.{handle}", names) for handle, names in value.items()}
            changes[name] = MappingProxyType({**base.handles, **handles})
        else:
            changes[name] = _names(name, value)
    return replace(base, **changes)


def _names(name: str, value: object) -> Attributes:
    if (
        isinstance(value, str)
        or not isinstance(value, Sequence)
        or not all(isinstance(v, str) for v in value)
    ):
        raise ValueError(f"{name}: a list of attribute names")
    return tuple(value)


def unknown_names(attribute_map: AttributeMap, names: Names) -> list[str]:
    """Attribute names in a map that no dictionary of the client defines; for checking settings."""
    listed: set[str] = {name for field_name in _NAME_LISTS for name in getattr(attribute_map, field_name)}
    for handle_names in attribute_map.handles.values():
        listed.update(handle_names)
    return sorted(name for name in listed if not names.knows(name))
