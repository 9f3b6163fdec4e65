"""What does one charging request cost to read, and its answer to write? Ours beside python-diameter's.

    python -m tests.benchmarks.diameter_codec

The request is a CCR-U that Kamailio sent; read are the values that a charging door needs. The answer is a CCA
with one Multiple-Services-Credit-Control. Processor time, the best of several rounds.
"""

from __future__ import annotations

from collections.abc import Callable
from time import process_time
from timeit import repeat
from typing import Any

from diameter.message import Message as TheirMessage
from diameter.message.avp.grouped import GrantedServiceUnit, MultipleServicesCreditControl

from switch_adapters.diameter import names, wire
from tests.diameter.recordings import first

TIMES = 2_000
ROUNDS = 7
ORIGIN = wire.text_avp(names.ORIGIN_HOST, "ocs.lab.test") + wire.text_avp(names.ORIGIN_REALM, "lab.test")
REQUEST = first("kam_03_updates_grant6_buffer2", "CCR-U")


def read() -> tuple[wire.Message, tuple[Any, ...]]:
    """Session, peer, step, payer, both parties, and what one service used and wants."""
    message = wire.parse(REQUEST)
    payer = message.group(names.SUBSCRIPTION_ID)
    (service,) = message.groups(names.MULTIPLE_SERVICES_CREDIT_CONTROL)
    used = service.group(names.USED_SERVICE_UNIT)
    wanted = service.group(names.REQUESTED_SERVICE_UNIT)
    information = message.group(names.SERVICE_INFORMATION)
    assert payer is not None
    assert used is not None
    assert wanted is not None
    assert information is not None
    ims = information.group(names.IMS_INFORMATION)
    assert ims is not None
    return message, (
        message.text(names.SESSION_ID),
        message.text(names.ORIGIN_HOST),
        message.text(names.SERVICE_CONTEXT_ID),
        message.u32(names.CC_REQUEST_TYPE),
        message.u32(names.CC_REQUEST_NUMBER),
        message.time_ms(names.EVENT_TIMESTAMP),
        payer.u32(names.SUBSCRIPTION_ID_TYPE),
        payer.text(names.SUBSCRIPTION_ID_DATA),
        service.u32(names.RATING_GROUP),
        service.u32(names.SERVICE_IDENTIFIER),
        used.u32(names.CC_TIME),
        wanted.u32(names.CC_TIME),
        ims.text(names.CALLING_PARTY_ADDRESS),
        ims.text(names.CALLED_PARTY_ADDRESS),
        ims.text(names.USER_SESSION_ID),
    )


def write(message: wire.Message) -> bytes:
    """A grant of 15 s that lasts for ten minutes."""
    return wire.answer(
        message,
        2001,
        wire.u32_avp(names.AUTH_APPLICATION_ID, 4),
        wire.u32_avp(names.CC_REQUEST_TYPE, 2),
        wire.u32_avp(names.CC_REQUEST_NUMBER, 1),
        wire.group_avp(
            names.MULTIPLE_SERVICES_CREDIT_CONTROL,
            wire.group_avp(names.GRANTED_SERVICE_UNIT, wire.u32_avp(names.CC_TIME, 15)),
            wire.u32_avp(names.SERVICE_IDENTIFIER, 1000),
            wire.u32_avp(names.RATING_GROUP, 100),
            wire.u32_avp(names.VALIDITY_TIME, 600),
            wire.u32_avp(names.RESULT_CODE, 2001),
        ),
        origin=ORIGIN,
    )


def their_read() -> tuple[Any, tuple[Any, ...]]:
    """The same values by the library."""
    message: Any = TheirMessage.from_bytes(REQUEST)
    (payer, *_), (service, *_) = message.subscription_id, message.multiple_services_credit_control
    ims = message.service_information.ims_information
    return message, (
        message.session_id,
        message.origin_host.decode(),
        message.service_context_id,
        message.cc_request_type,
        message.cc_request_number,
        round(message.event_timestamp.timestamp() * 1000),
        payer.subscription_id_type,
        payer.subscription_id_data,
        service.rating_group,
        service.service_identifier[0],
        service.used_service_unit[0].cc_time,
        service.requested_service_unit.cc_time,
        ims.calling_party_address[0],
        ims.called_party_address,
        ims.user_session_id,
    )


def their_write(message: Any) -> bytes:
    """The same answer by the library, but for its missing M flags."""
    answer = message.to_answer()
    answer.session_id = message.session_id
    answer.result_code = 2001
    answer.origin_host, answer.origin_realm = b"ocs.lab.test", b"lab.test"
    answer.auth_application_id, answer.cc_request_type, answer.cc_request_number = 4, 2, 1
    answer.multiple_services_credit_control = [
        MultipleServicesCreditControl(
            granted_service_unit=GrantedServiceUnit(cc_time=15),
            service_identifier=[1000],
            rating_group=100,
            validity_time=600,
            result_code=2001,
        )
    ]
    return bytes(answer.as_bytes())


def _us(work: Callable[[], object]) -> float:
    return min(repeat(work, number=TIMES, repeat=ROUNDS, timer=process_time)) / TIMES * 1e6


def rows() -> list[tuple[str, str]]:
    """(what, figure)."""
    (ours, values), (theirs, their_values) = read(), their_read()
    assert values == their_values
    assert len(write(ours)) == len(their_write(theirs))
    figures = (
        ("parse a CCR-U of 824 octets, read nothing", _us(lambda: wire.parse(REQUEST)), None),
        ("parse it and read 15 values", _us(read), _us(their_read)),
        ("write the CCA, one service", _us(lambda: write(ours)), _us(lambda: their_write(theirs))),
    )
    return [
        (what, f"{mine:.1f} µs" + ("" if other is None else f", python-diameter {other:.1f} µs"))
        for what, mine, other in figures
    ]


if __name__ == "__main__":
    for what, figure in rows():
        print(f"{what}: {figure}")
