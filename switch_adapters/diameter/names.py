"""What is each AVP called, and what does the dictionary say of it? The AVPs that we read or write, by name.

Types and M flags are python-diameter's, taken at import; where RFC 6733 says otherwise, `_CORRECTED` does.
Its dictionary is all we use of it: bytes are read and written by `wire` and `avps`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import Enum
from typing import Any, Final, NamedTuple

from diameter.message.avp import avp as types
from diameter.message.avp.dictionary import AVP_DICTIONARY, AVP_VENDOR_DICTIONARY

TGPP: Final = 10415
"""3GPP's vendor id."""


class Name(NamedTuple):
    """What tells one AVP from another: its code, and the vendor whose code it is (0: IETF)."""

    code: int
    vendor: int = 0


class Kind(Enum):
    """How a value is written (RFC 6733 4.2 to 4.4)."""

    OCTETS = (0, "octets")
    TEXT = (0, "text")
    ADDRESS = (0, "address")
    GROUPED = (0, "grouped")
    I32 = (4, "i32")
    I64 = (8, "i64")
    U32 = (4, "u32")
    U64 = (8, "u64")
    F32 = (4, "f32")
    F64 = (8, "f64")
    TIME = (4, "time")

    @property
    def octets(self) -> int:
        """Length of every value of this kind; 0: they differ."""
        return self.value[0]


class Definition(NamedTuple):
    """What the dictionary says. `mandatory`: we set the M flag (whoever does not know it must refuse)."""

    title: str
    kind: Kind
    mandatory: bool


_KINDS: Final[dict[Any, Kind]] = {
    types.AvpOctetString: Kind.OCTETS,
    types.AvpUtf8String: Kind.TEXT,
    types.AvpAddress: Kind.ADDRESS,
    types.AvpGrouped: Kind.GROUPED,
    types.AvpInteger32: Kind.I32,
    types.AvpInteger64: Kind.I64,
    types.AvpUnsigned32: Kind.U32,
    types.AvpUnsigned64: Kind.U64,
    types.AvpFloat32: Kind.F32,
    types.AvpFloat64: Kind.F64,
    types.AvpTime: Kind.TIME,
}

# Base protocol (RFC 6733 4.5)
USER_NAME: Final = Name(1)
CLASS: Final = Name(25)
SESSION_TIMEOUT: Final = Name(27)
PROXY_STATE: Final = Name(33)
EVENT_TIMESTAMP: Final = Name(55)
ACCT_INTERIM_INTERVAL: Final = Name(85)
HOST_IP_ADDRESS: Final = Name(257)
AUTH_APPLICATION_ID: Final = Name(258)
ACCT_APPLICATION_ID: Final = Name(259)
VENDOR_SPECIFIC_APPLICATION_ID: Final = Name(260)
SESSION_ID: Final = Name(263)
ORIGIN_HOST: Final = Name(264)
SUPPORTED_VENDOR_ID: Final = Name(265)
VENDOR_ID: Final = Name(266)
FIRMWARE_REVISION: Final = Name(267)
RESULT_CODE: Final = Name(268)
PRODUCT_NAME: Final = Name(269)
DISCONNECT_CAUSE: Final = Name(273)
ORIGIN_STATE_ID: Final = Name(278)
FAILED_AVP: Final = Name(279)
PROXY_HOST: Final = Name(280)
ERROR_MESSAGE: Final = Name(281)
ROUTE_RECORD: Final = Name(282)
DESTINATION_REALM: Final = Name(283)
PROXY_INFO: Final = Name(284)
RE_AUTH_REQUEST_TYPE: Final = Name(285)
AUTHORIZATION_LIFETIME: Final = Name(291)
DESTINATION_HOST: Final = Name(293)
ERROR_REPORTING_HOST: Final = Name(294)
TERMINATION_CAUSE: Final = Name(295)
ORIGIN_REALM: Final = Name(296)
EXPERIMENTAL_RESULT: Final = Name(297)
EXPERIMENTAL_RESULT_CODE: Final = Name(298)
INBAND_SECURITY_ID: Final = Name(299)
ACCOUNTING_RECORD_TYPE: Final = Name(480)
ACCOUNTING_RECORD_NUMBER: Final = Name(485)

# Credit control (RFC 8506 8); Filter-Id is RFC 7155's
FILTER_ID: Final = Name(11)
CC_INPUT_OCTETS: Final = Name(412)
CC_MONEY: Final = Name(413)
CC_OUTPUT_OCTETS: Final = Name(414)
CC_REQUEST_NUMBER: Final = Name(415)
CC_REQUEST_TYPE: Final = Name(416)
CC_SERVICE_SPECIFIC_UNITS: Final = Name(417)
CC_SESSION_FAILOVER: Final = Name(418)
CC_TIME: Final = Name(420)
CC_TOTAL_OCTETS: Final = Name(421)
CHECK_BALANCE_RESULT: Final = Name(422)
COST_INFORMATION: Final = Name(423)
COST_UNIT: Final = Name(424)
CURRENCY_CODE: Final = Name(425)
CREDIT_CONTROL: Final = Name(426)
CREDIT_CONTROL_FAILURE_HANDLING: Final = Name(427)
EXPONENT: Final = Name(429)
FINAL_UNIT_INDICATION: Final = Name(430)
GRANTED_SERVICE_UNIT: Final = Name(431)
RATING_GROUP: Final = Name(432)
REDIRECT_ADDRESS_TYPE: Final = Name(433)
REDIRECT_SERVER: Final = Name(434)
REDIRECT_SERVER_ADDRESS: Final = Name(435)
REQUESTED_ACTION: Final = Name(436)
REQUESTED_SERVICE_UNIT: Final = Name(437)
RESTRICTION_FILTER_RULE: Final = Name(438)
SERVICE_IDENTIFIER: Final = Name(439)
SUBSCRIPTION_ID: Final = Name(443)
SUBSCRIPTION_ID_DATA: Final = Name(444)
UNIT_VALUE: Final = Name(445)
USED_SERVICE_UNIT: Final = Name(446)
VALUE_DIGITS: Final = Name(447)
VALIDITY_TIME: Final = Name(448)
FINAL_UNIT_ACTION: Final = Name(449)
SUBSCRIPTION_ID_TYPE: Final = Name(450)
G_S_U_POOL_IDENTIFIER: Final = Name(453)
CC_UNIT_TYPE: Final = Name(454)
MULTIPLE_SERVICES_INDICATOR: Final = Name(455)
MULTIPLE_SERVICES_CREDIT_CONTROL: Final = Name(456)
G_S_U_POOL_REFERENCE: Final = Name(457)
SERVICE_CONTEXT_ID: Final = Name(461)

# 3GPP charging (TS 32.299 7.2)
SIP_METHOD: Final = Name(824, TGPP)
EVENT: Final = Name(825, TGPP)
CONTENT_TYPE: Final = Name(826, TGPP)
CONTENT_LENGTH: Final = Name(827, TGPP)
ROLE_OF_NODE: Final = Name(829, TGPP)
USER_SESSION_ID: Final = Name(830, TGPP)
CALLING_PARTY_ADDRESS: Final = Name(831, TGPP)
CALLED_PARTY_ADDRESS: Final = Name(832, TGPP)
APPLICATION_PROVIDED_CALLED_PARTY_ADDRESS: Final = Name(837, TGPP)
APPLICATION_SERVER_INFORMATION: Final = Name(850, TGPP)
TRUNK_GROUP_ID: Final = Name(851, TGPP)
INCOMING_TRUNK_GROUP_ID: Final = Name(852, TGPP)
OUTGOING_TRUNK_GROUP_ID: Final = Name(853, TGPP)
CAUSE_CODE: Final = Name(861, TGPP)
TIME_QUOTA_THRESHOLD: Final = Name(868, TGPP)
VOLUME_QUOTA_THRESHOLD: Final = Name(869, TGPP)
QUOTA_HOLDING_TIME: Final = Name(871, TGPP)
REPORTING_REASON: Final = Name(872, TGPP)
SERVICE_INFORMATION: Final = Name(873, TGPP)
IMS_INFORMATION: Final = Name(876, TGPP)
EXPIRES: Final = Name(888, TGPP)
ADDRESS_DATA: Final = Name(897, TGPP)
UNIT_QUOTA_THRESHOLD: Final = Name(1226, TGPP)
SGSN_ADDRESS: Final = Name(1228, TGPP)
ACCESS_NETWORK_INFORMATION: Final = Name(1263, TGPP)
SMS_INFORMATION: Final = Name(2000, TGPP)
RECIPIENT_INFO: Final = Name(2026, TGPP)

# Who a user is, in 3GPP's Sh and Cx (TS 29.229)
SERVER_NAME: Final = Name(602, TGPP)

_CORRECTED: Final[dict[Name, Definition]] = {
    FIRMWARE_REVISION: Definition("Firmware-Revision", Kind.U32, False),
    PRODUCT_NAME: Definition("Product-Name", Kind.TEXT, False),
    ERROR_MESSAGE: Definition("Error-Message", Kind.TEXT, False),
    ERROR_REPORTING_HOST: Definition("Error-Reporting-Host", Kind.OCTETS, False),
    RESULT_CODE: Definition("Result-Code", Kind.U32, True),
    AUTHORIZATION_LIFETIME: Definition("Authorization-Lifetime", Kind.U32, True),
    INBAND_SECURITY_ID: Definition("Inband-Security-Id", Kind.U32, True),
}
"""Where the dictionary departs from RFC 6733 4.5: four must not have the M flag, three are unsigned."""


def _entries() -> Iterator[tuple[Name, dict[str, Any]]]:
    for vendor, entries in ((0, AVP_DICTIONARY), *AVP_VENDOR_DICTIONARY.items()):
        for code, entry in entries.items():
            yield Name(code, vendor), entry


DEFINITIONS: Final[dict[Name, Definition]] = {
    name: Definition(entry["name"], _KINDS[entry["type"]], bool(entry.get("mandatory")))
    for name, entry in _entries()
} | _CORRECTED
"""Every AVP that the dictionary knows."""


def named(title: str, vendors: Iterable[int] = (0, TGPP)) -> Name | None:
    """The AVP that the dictionary calls `title` ("Calling-Party-Address"); None: there is none.

    For settings that name AVPs. The first of `vendors` that has one is taken.
    """
    return next((found for vendor in vendors if (found := _BY_TITLE.get((title.lower(), vendor)))), None)


_BY_TITLE: Final[dict[tuple[str, int], Name]] = {
    (definition.title.lower(), name.vendor): name for name, definition in DEFINITIONS.items()
}
