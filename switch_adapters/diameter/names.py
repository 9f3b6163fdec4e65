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
ACCT_SESSION_ID: Final = Name(44)
ACCOUNTING_MULTI_SESSION_ID: Final = Name(50)
EVENT_TIMESTAMP: Final = Name(55)
ACCT_INTERIM_INTERVAL: Final = Name(85)
HOST_IP_ADDRESS: Final = Name(257)
AUTH_APPLICATION_ID: Final = Name(258)
ACCT_APPLICATION_ID: Final = Name(259)
VENDOR_SPECIFIC_APPLICATION_ID: Final = Name(260)
REDIRECT_HOST_USAGE: Final = Name(261)
REDIRECT_MAX_CACHE_TIME: Final = Name(262)
SESSION_ID: Final = Name(263)
ORIGIN_HOST: Final = Name(264)
SUPPORTED_VENDOR_ID: Final = Name(265)
VENDOR_ID: Final = Name(266)
FIRMWARE_REVISION: Final = Name(267)
RESULT_CODE: Final = Name(268)
PRODUCT_NAME: Final = Name(269)
SESSION_BINDING: Final = Name(270)
SESSION_SERVER_FAILOVER: Final = Name(271)
MULTI_ROUND_TIME_OUT: Final = Name(272)
DISCONNECT_CAUSE: Final = Name(273)
AUTH_REQUEST_TYPE: Final = Name(274)
AUTH_GRACE_PERIOD: Final = Name(276)
AUTH_SESSION_STATE: Final = Name(277)
ORIGIN_STATE_ID: Final = Name(278)
FAILED_AVP: Final = Name(279)
PROXY_HOST: Final = Name(280)
ERROR_MESSAGE: Final = Name(281)
ROUTE_RECORD: Final = Name(282)
DESTINATION_REALM: Final = Name(283)
PROXY_INFO: Final = Name(284)
RE_AUTH_REQUEST_TYPE: Final = Name(285)
ACCOUNTING_SUB_SESSION_ID: Final = Name(287)
AUTHORIZATION_LIFETIME: Final = Name(291)
REDIRECT_HOST: Final = Name(292)
DESTINATION_HOST: Final = Name(293)
ERROR_REPORTING_HOST: Final = Name(294)
TERMINATION_CAUSE: Final = Name(295)
ORIGIN_REALM: Final = Name(296)
EXPERIMENTAL_RESULT: Final = Name(297)
EXPERIMENTAL_RESULT_CODE: Final = Name(298)
INBAND_SECURITY_ID: Final = Name(299)
ACCOUNTING_RECORD_TYPE: Final = Name(480)
ACCOUNTING_REALTIME_REQUIRED: Final = Name(483)
ACCOUNTING_RECORD_NUMBER: Final = Name(485)

# Credit control (RFC 8506 8); Filter-Id is RFC 7155's
FILTER_ID: Final = Name(11)
CC_CORRELATION_ID: Final = Name(411)
CC_INPUT_OCTETS: Final = Name(412)
CC_MONEY: Final = Name(413)
CC_OUTPUT_OCTETS: Final = Name(414)
CC_REQUEST_NUMBER: Final = Name(415)
CC_REQUEST_TYPE: Final = Name(416)
CC_SERVICE_SPECIFIC_UNITS: Final = Name(417)
CC_SESSION_FAILOVER: Final = Name(418)
CC_SUB_SESSION_ID: Final = Name(419)
CC_TIME: Final = Name(420)
CC_TOTAL_OCTETS: Final = Name(421)
CHECK_BALANCE_RESULT: Final = Name(422)
COST_INFORMATION: Final = Name(423)
COST_UNIT: Final = Name(424)
CURRENCY_CODE: Final = Name(425)
CREDIT_CONTROL: Final = Name(426)
CREDIT_CONTROL_FAILURE_HANDLING: Final = Name(427)
DIRECT_DEBITING_FAILURE_HANDLING: Final = Name(428)
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
SERVICE_PARAMETER_INFO: Final = Name(440)
SERVICE_PARAMETER_TYPE: Final = Name(441)
SERVICE_PARAMETER_VALUE: Final = Name(442)
SUBSCRIPTION_ID: Final = Name(443)
SUBSCRIPTION_ID_DATA: Final = Name(444)
UNIT_VALUE: Final = Name(445)
USED_SERVICE_UNIT: Final = Name(446)
VALUE_DIGITS: Final = Name(447)
VALIDITY_TIME: Final = Name(448)
FINAL_UNIT_ACTION: Final = Name(449)
SUBSCRIPTION_ID_TYPE: Final = Name(450)
TARIFF_TIME_CHANGE: Final = Name(451)
TARIFF_CHANGE_USAGE: Final = Name(452)
G_S_U_POOL_IDENTIFIER: Final = Name(453)
CC_UNIT_TYPE: Final = Name(454)
MULTIPLE_SERVICES_INDICATOR: Final = Name(455)
MULTIPLE_SERVICES_CREDIT_CONTROL: Final = Name(456)
G_S_U_POOL_REFERENCE: Final = Name(457)
USER_EQUIPMENT_INFO: Final = Name(458)
USER_EQUIPMENT_INFO_TYPE: Final = Name(459)
USER_EQUIPMENT_INFO_VALUE: Final = Name(460)
SERVICE_CONTEXT_ID: Final = Name(461)
USER_EQUIPMENT_INFO_EXTENSION: Final = Name(653)
USER_EQUIPMENT_INFO_IMEISV: Final = Name(654)
USER_EQUIPMENT_INFO_IMEI: Final = Name(658)
REDIRECT_SERVER_EXTENSION: Final = Name(665)
REDIRECT_ADDRESS_IPADDRESS: Final = Name(666)
REDIRECT_ADDRESS_URL: Final = Name(667)
REDIRECT_ADDRESS_SIP_URI: Final = Name(668)
QOS_FINAL_UNIT_INDICATION: Final = Name(669)

# 3GPP charging (TS 32.299 7.2)
TGPP_IMSI: Final = Name(1, TGPP)
TGPP_CHARGING_ID: Final = Name(2, TGPP)
TGPP_IMSI_MCC_MNC: Final = Name(8, TGPP)
TGPP_NSAPI: Final = Name(10, TGPP)
TGPP_SELECTION_MODE: Final = Name(12, TGPP)
TGPP_CHARGING_CHARACTERISTICS: Final = Name(13, TGPP)
TGPP_SGSN_MCC_MNC: Final = Name(18, TGPP)
TGPP_RAT_TYPE: Final = Name(21, TGPP)
TGPP_USER_LOCATION_INFO: Final = Name(22, TGPP)
TGPP_MS_TIMEZONE: Final = Name(23, TGPP)
EVENT_TYPE: Final = Name(823, TGPP)
SIP_METHOD: Final = Name(824, TGPP)
EVENT: Final = Name(825, TGPP)
CONTENT_TYPE: Final = Name(826, TGPP)
CONTENT_LENGTH: Final = Name(827, TGPP)
CONTENT_DISPOSITION: Final = Name(828, TGPP)
ROLE_OF_NODE: Final = Name(829, TGPP)
USER_SESSION_ID: Final = Name(830, TGPP)
CALLING_PARTY_ADDRESS: Final = Name(831, TGPP)
CALLED_PARTY_ADDRESS: Final = Name(832, TGPP)
TIME_STAMPS: Final = Name(833, TGPP)
SIP_REQUEST_TIMESTAMP: Final = Name(834, TGPP)
SIP_RESPONSE_TIMESTAMP: Final = Name(835, TGPP)
APPLICATION_SERVER: Final = Name(836, TGPP)
APPLICATION_PROVIDED_CALLED_PARTY_ADDRESS: Final = Name(837, TGPP)
INTER_OPERATOR_IDENTIFIER: Final = Name(838, TGPP)
ORIGINATING_IOI: Final = Name(839, TGPP)
TERMINATING_IOI: Final = Name(840, TGPP)
IMS_CHARGING_IDENTIFIER: Final = Name(841, TGPP)
SDP_SESSION_DESCRIPTION: Final = Name(842, TGPP)
SDP_MEDIA_COMPONENT: Final = Name(843, TGPP)
SDP_MEDIA_NAME: Final = Name(844, TGPP)
SDP_MEDIA_DESCRIPTION: Final = Name(845, TGPP)
GGSN_ADDRESS: Final = Name(847, TGPP)
SERVED_PARTY_IP_ADDRESS: Final = Name(848, TGPP)
APPLICATION_SERVER_INFORMATION: Final = Name(850, TGPP)
TRUNK_GROUP_ID: Final = Name(851, TGPP)
INCOMING_TRUNK_GROUP_ID: Final = Name(852, TGPP)
OUTGOING_TRUNK_GROUP_ID: Final = Name(853, TGPP)
BEARER_SERVICE: Final = Name(854, TGPP)
SERVICE_ID: Final = Name(855, TGPP)
ASSOCIATED_URI: Final = Name(856, TGPP)
CHARGED_PARTY: Final = Name(857, TGPP)
CAUSE: Final = Name(860, TGPP)
CAUSE_CODE: Final = Name(861, TGPP)
NODE_FUNCTIONALITY: Final = Name(862, TGPP)
SERVICE_SPECIFIC_DATA: Final = Name(863, TGPP)
ORIGINATOR: Final = Name(864, TGPP)
TIME_QUOTA_THRESHOLD: Final = Name(868, TGPP)
VOLUME_QUOTA_THRESHOLD: Final = Name(869, TGPP)
TRIGGER_TYPE: Final = Name(870, TGPP)
QUOTA_HOLDING_TIME: Final = Name(871, TGPP)
REPORTING_REASON: Final = Name(872, TGPP)
SERVICE_INFORMATION: Final = Name(873, TGPP)
PS_INFORMATION: Final = Name(874, TGPP)
IMS_INFORMATION: Final = Name(876, TGPP)
QUOTA_CONSUMPTION_TIME: Final = Name(881, TGPP)
MEDIA_INITIATOR_FLAG: Final = Name(882, TGPP)
ORIGINATOR_ADDRESS: Final = Name(886, TGPP)
EXPIRES: Final = Name(888, TGPP)
ADDRESS_DATA: Final = Name(897, TGPP)
ADDRESS_TYPE: Final = Name(899, TGPP)
UNIT_QUOTA_THRESHOLD: Final = Name(1226, TGPP)
PDP_ADDRESS: Final = Name(1227, TGPP)
SGSN_ADDRESS: Final = Name(1228, TGPP)
PDP_CONTEXT_TYPE: Final = Name(1247, TGPP)
SERVICE_SPECIFIC_INFO: Final = Name(1249, TGPP)
CALLED_ASSERTED_IDENTITY: Final = Name(1250, TGPP)
REQUESTED_PARTY_ADDRESS: Final = Name(1251, TGPP)
SERVICE_GENERIC_INFORMATION: Final = Name(1256, TGPP)
SERVICE_SPECIFIC_TYPE: Final = Name(1257, TGPP)
EVENT_CHARGING_TIMESTAMP: Final = Name(1258, TGPP)
ACCESS_NETWORK_INFORMATION: Final = Name(1263, TGPP)
TRIGGER: Final = Name(1264, TGPP)
TIME_QUOTA_MECHANISM: Final = Name(1270, TGPP)
TIME_QUOTA_TYPE: Final = Name(1271, TGPP)
IMS_COMMUNICATION_SERVICE_IDENTIFIER: Final = Name(1281, TGPP)
MEDIA_INITIATOR_PARTY: Final = Name(1288, TGPP)
SMS_INFORMATION: Final = Name(2000, TGPP)
SM_MESSAGE_TYPE: Final = Name(2007, TGPP)
REFUND_INFORMATION: Final = Name(2022, TGPP)
LOW_BALANCE_INDICATION: Final = Name(2020, TGPP)
REMAINING_BALANCE: Final = Name(2021, TGPP)
CARRIER_SELECT_ROUTING_INFORMATION: Final = Name(2023, TGPP)
NUMBER_PORTABILITY_ROUTING_INFORMATION: Final = Name(2024, TGPP)
RECIPIENT_INFO: Final = Name(2026, TGPP)
MMTEL_INFORMATION: Final = Name(2030, TGPP)
ASSOCIATED_PARTY_ADDRESS: Final = Name(2035, TGPP)
DIAGNOSTICS: Final = Name(2039, TGPP)
START_TIME: Final = Name(2041, TGPP)
STOP_TIME: Final = Name(2042, TGPP)
TIME_USAGE: Final = Name(2045, TGPP)
SUPPLEMENTARY_SERVICE: Final = Name(2048, TGPP)
IMS_VISITED_NETWORK_IDENTIFIER: Final = Name(2713, TGPP)
SIP_RESPONSE_TIMESTAMP_FRACTION: Final = Name(2302, TGPP)

# Who a user is, in 3GPP's Sh and Cx (TS 29.229)
PUBLIC_IDENTITY: Final = Name(601, TGPP)
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
