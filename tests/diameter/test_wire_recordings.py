"""What Kamailio and a server said to each other: read as another decoder read it, and written back."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from switch_adapters.diameter import wire
from switch_adapters.diameter.names import (
    CALLED_PARTY_ADDRESS,
    CC_TIME,
    EVENT_TIMESTAMP,
    IMS_INFORMATION,
    MULTIPLE_SERVICES_CREDIT_CONTROL,
    ORIGIN_HOST,
    RATING_GROUP,
    SERVICE_INFORMATION,
    SUBSCRIPTION_ID,
    SUBSCRIPTION_ID_DATA,
    USED_SERVICE_UNIT,
    Kind,
    Name,
)
from switch_adapters.diameter.names import DEFINITIONS as KNOWN
from tests.diameter.recordings import RECORDINGS, first, messages

ERA_S = 1 << 32
READERS: dict[Kind, Any] = {
    Kind.U32: wire.Avps.u32,
    Kind.I32: wire.Avps.i32,
    Kind.U64: wire.Avps.u64,
    Kind.I64: wire.Avps.i64,
    Kind.TIME: wire.Avps.time_ms,
    Kind.ADDRESS: wire.Avps.address,
    Kind.TEXT: wire.Avps.text,
    Kind.OCTETS: wire.Avps.raw_value,
}
WRITERS: dict[Kind, Any] = {
    Kind.U32: wire.u32_avp,
    Kind.I32: wire.i32_avp,
    Kind.U64: wire.u64_avp,
    Kind.I64: wire.i64_avp,
    Kind.TIME: wire.time_avp,
    Kind.ADDRESS: wire.address_avp,
    Kind.TEXT: wire.text_avp,
    Kind.OCTETS: wire.raw_avp,
}


def kind_of(name: Name) -> Kind:
    return KNOWN[name].kind if name in KNOWN else Kind.OCTETS


def alone(avp: wire.Avp) -> wire.Message:
    """A message of this AVP and nothing else."""
    return wire.parse(wire.request(272, 4, 1, 2, avp.raw))


def tree(avps: wire.Avps) -> list[dict[str, Any]]:
    """Every AVP by the type that the dictionary gives it; octets as text, or in hex if they are none."""
    return [
        {
            "code": avp.name.code,
            "vendor": avp.name.vendor,
            "flags": "".join(
                letter if avp.flags & bit else "-" for letter, bit in zip("VMP", (128, 64, 32), strict=True)
            ),
            "name": KNOWN[avp.name].title if avp.name in KNOWN else "?",
            "value": value(avp),
        }
        for avp in avps
    ]


def value(avp: wire.Avp) -> Any:
    kind, message = kind_of(avp.name), alone(avp)
    if kind is Kind.GROUPED:
        (group,) = message.groups(avp.name)
        return tree(group)
    read = READERS[kind](message, avp.name)
    if kind is not Kind.OCTETS:
        return read
    text = read.decode("utf-8", "replace")
    return text if text.isprintable() else read.hex()


def as_noted(noted: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """With times as milliseconds, in the era that RFC 6733 gives them."""
    return [avp | {"value": _noted_value(avp)} for avp in noted]


def _noted_value(avp: dict[str, Any]) -> Any:
    kind = kind_of(Name(avp["code"], avp["vendor"]))
    if kind is Kind.GROUPED:
        return as_noted(avp["value"])
    if kind is Kind.TIME:
        at_s = datetime.fromisoformat(avp["value"]).timestamp()
        return (
            int(at_s + (ERA_S if at_s < datetime(1968, 1, 20, 3, 14, 8, tzinfo=UTC).timestamp() else 0))
            * 1000
        )
    return avp["value"]


def rewritten(avps: wire.Avps) -> bytes:
    """All AVPs encoded anew from the values that were read, with the flags that the sender chose."""
    return b"".join(_rewritten(avp) for avp in avps)


def _rewritten(avp: wire.Avp) -> bytes:
    kind, message = kind_of(avp.name), alone(avp)
    if kind is Kind.GROUPED:
        (group,) = message.groups(avp.name)
        ours = wire.group_avp(avp.name, rewritten(group))
    else:
        ours = WRITERS[kind](avp.name, READERS[kind](message, avp.name))
    return ours[:4] + bytes([avp.flags]) + ours[5:]


@pytest.mark.parametrize("recording", RECORDINGS)
def test_every_message_reads_as_another_decoder_read_it(recording: str) -> None:
    for recorded in messages(recording):
        assert tree(wire.parse(recorded.raw)) == as_noted(recorded.noted), recorded.number


@pytest.mark.parametrize("recording", RECORDINGS)
def test_every_message_is_written_back_byte_for_byte_from_what_was_read(recording: str) -> None:
    for recorded in messages(recording):
        message = wire.parse(recorded.raw)
        assert message.raw == recorded.raw
        assert recorded.raw[20:] == rewritten(message), recorded.number
        assert recorded.raw[20:] == b"".join(avp.raw for avp in message), recorded.number
        if message.is_request:
            assert recorded.raw == wire.request(
                message.code,
                message.application,
                message.hop_by_hop,
                message.end_to_end,
                rewritten(message),
                proxiable=message.is_proxiable,
                retransmitted=message.is_retransmitted,
            )


def test_all_recordings_are_here() -> None:
    assert len(RECORDINGS) == 50
    assert sum(len(messages(recording)) for recording in RECORDINGS) == 315


def test_a_charging_door_finds_what_it_needs_in_an_update() -> None:
    message = wire.parse(first("kam_03_updates_grant6_buffer2", "CCR-U"))
    (service,) = message.groups(MULTIPLE_SERVICES_CREDIT_CONTROL)
    (used,) = service.groups(USED_SERVICE_UNIT)
    payer, information = message.group(SUBSCRIPTION_ID), message.group(SERVICE_INFORMATION)
    assert payer is not None
    assert information is not None
    ims = information.group(IMS_INFORMATION)
    assert ims is not None
    assert (message.code, message.application, message.is_request, message.is_proxiable) == (
        272,
        4,
        True,
        True,
    )
    assert (message.hop_by_hop, message.end_to_end) == (0x5D1C8BD7, 0xF6C04FE6)
    assert not message.is_error
    assert not message.is_retransmitted
    assert message.texts(ORIGIN_HOST) == ["kam.lab.test", "kam.lab.test"]
    assert message.time_ms(EVENT_TIMESTAMP) == 1_795_293_062_000
    assert payer.text(SUBSCRIPTION_ID_DATA) == "sip:alice@lab.test"
    assert ims.text(CALLED_PARTY_ADDRESS) == "sip:+15550199@127.0.0.1"
    assert (service.u32(RATING_GROUP), used.u32(CC_TIME)) == (100, 4)
    assert (ims.depth, used.depth, message.depth) == (2, 2, 0)


def test_what_is_not_there_is_none_or_empty() -> None:
    message = wire.parse(first("kam_33_idle_watchdog", "DWR"))
    assert message.group(SERVICE_INFORMATION) is None
    assert message.groups(MULTIPLE_SERVICES_CREDIT_CONTROL) == []
    assert message.texts(SUBSCRIPTION_ID_DATA) == message.u32s(RATING_GROUP) == message.all(CC_TIME) == []
    for reader in READERS.values():
        assert reader(message, RATING_GROUP) is None
    assert not message.has(RATING_GROUP)
    assert (message.count(RATING_GROUP), message.count(ORIGIN_HOST)) == (0, 1)
