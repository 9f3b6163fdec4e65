"""What do the numbers in Diameter mean? Commands, applications, result codes, enumerations."""

from __future__ import annotations

from enum import IntEnum


class Command(IntEnum):
    """Command codes (RFC 6733 3.1, RFC 8506 3); a request and its answer share one."""

    CAPABILITIES_EXCHANGE = 257
    RE_AUTH = 258
    ACCOUNTING = 271
    CREDIT_CONTROL = 272
    ABORT_SESSION = 274
    SESSION_TERMINATION = 275
    DEVICE_WATCHDOG = 280
    DISCONNECT_PEER = 282


class Application(IntEnum):
    """Application ids (RFC 6733 2.4, RFC 8506)."""

    BASE = 0
    ACCOUNTING = 3
    CREDIT_CONTROL = 4
    RELAY = 0xFFFFFFFF


class Result(IntEnum):
    """Result codes that we send or look for (RFC 6733 7.1, RFC 8506 9)."""

    SUCCESS = 2001
    LIMITED_SUCCESS = 2002
    COMMAND_UNSUPPORTED = 3001
    UNABLE_TO_DELIVER = 3002
    REALM_NOT_SERVED = 3003
    TOO_BUSY = 3004
    LOOP_DETECTED = 3005
    REDIRECT_INDICATION = 3006
    APPLICATION_UNSUPPORTED = 3007
    INVALID_HDR_BITS = 3008
    INVALID_AVP_BITS = 3009
    UNKNOWN_PEER = 3010
    AUTHENTICATION_REJECTED = 4001
    OUT_OF_SPACE = 4002
    ELECTION_LOST = 4003
    END_USER_SERVICE_DENIED = 4010
    CREDIT_CONTROL_NOT_APPLICABLE = 4011
    CREDIT_LIMIT_REACHED = 4012
    AVP_UNSUPPORTED = 5001
    UNKNOWN_SESSION_ID = 5002
    AUTHORIZATION_REJECTED = 5003
    INVALID_AVP_VALUE = 5004
    MISSING_AVP = 5005
    RESOURCES_EXCEEDED = 5006
    CONTRADICTING_AVPS = 5007
    AVP_NOT_ALLOWED = 5008
    AVP_OCCURS_TOO_MANY_TIMES = 5009
    NO_COMMON_APPLICATION = 5010
    UNSUPPORTED_VERSION = 5011
    UNABLE_TO_COMPLY = 5012
    INVALID_AVP_LENGTH = 5014
    INVALID_MESSAGE_LENGTH = 5015
    NO_COMMON_SECURITY = 5017
    USER_UNKNOWN = 5030
    RATING_FAILED = 5031


class CcRequestType(IntEnum):
    """CC-Request-Type (RFC 8506 8.3)."""

    INITIAL = 1
    UPDATE = 2
    TERMINATION = 3
    EVENT = 4


class RequestedAction(IntEnum):
    """Requested-Action of an event (RFC 8506 8.41)."""

    DIRECT_DEBITING = 0
    REFUND_ACCOUNT = 1
    CHECK_BALANCE = 2
    PRICE_ENQUIRY = 3


class CheckBalanceResult(IntEnum):
    """Check-Balance-Result (RFC 8506 8.6)."""

    ENOUGH_CREDIT = 0
    NO_CREDIT = 1


class FinalUnitAction(IntEnum):
    """Final-Unit-Action (RFC 8506 8.35)."""

    TERMINATE = 0
    REDIRECT = 1
    RESTRICT_ACCESS = 2


class RedirectAddressType(IntEnum):
    """Redirect-Address-Type (RFC 8506 8.38)."""

    IPV4 = 0
    IPV6 = 1
    URL = 2
    SIP_URI = 3


class CcUnitType(IntEnum):
    """CC-Unit-Type of a pool (RFC 8506 8.32)."""

    TIME = 0
    MONEY = 1
    TOTAL_OCTETS = 2
    INPUT_OCTETS = 3
    OUTPUT_OCTETS = 4
    SERVICE_SPECIFIC_UNITS = 5


class SubscriptionIdType(IntEnum):
    """Subscription-Id-Type (RFC 8506 8.47)."""

    E164 = 0
    IMSI = 1
    SIP_URI = 2
    NAI = 3
    PRIVATE = 4


class FailureHandling(IntEnum):
    """Credit-Control-Failure-Handling (RFC 8506 8.14)."""

    TERMINATE = 0
    CONTINUE = 1
    RETRY_AND_TERMINATE = 2


class SessionFailover(IntEnum):
    """CC-Session-Failover (RFC 8506 8.4)."""

    NOT_SUPPORTED = 0
    SUPPORTED = 1


class ReportingReason(IntEnum):
    """3GPP-Reporting-Reason (TS 32.299 7.2.175)."""

    THRESHOLD = 0
    QUOTA_HOLDING_TIME = 1
    FINAL = 2
    QUOTA_EXHAUSTED = 3
    VALIDITY_TIME = 4
    OTHER_QUOTA_TYPE = 5
    RATING_CONDITION_CHANGE = 6
    FORCED_REAUTHORISATION = 7
    POOL_EXHAUSTED = 8


class AccountingRecordType(IntEnum):
    """Accounting-Record-Type (RFC 6733 9.8.1)."""

    EVENT = 1
    START = 2
    INTERIM = 3
    STOP = 4


class DisconnectCause(IntEnum):
    """Disconnect-Cause of a DPR (RFC 6733 5.4.3)."""

    REBOOTING = 0
    BUSY = 1
    DO_NOT_WANT_TO_TALK_TO_YOU = 2


class ReAuthRequestType(IntEnum):
    """Re-Auth-Request-Type (RFC 6733 8.12)."""

    AUTHORIZE_ONLY = 0
    AUTHORIZE_AUTHENTICATE = 1


class TerminationCause(IntEnum):
    """Termination-Cause (RFC 6733 8.15)."""

    LOGOUT = 1
    SERVICE_NOT_PROVIDED = 2
    BAD_ANSWER = 3
    ADMINISTRATIVE = 4
    LINK_BROKEN = 5
    AUTH_EXPIRED = 6
    USER_MOVED = 7
    SESSION_TIMEOUT = 8


class RoleOfNode(IntEnum):
    """Role-Of-Node (TS 32.299 7.2.180): whose side of the call the node serves."""

    ORIGINATING = 0
    TERMINATING = 1
    PROXY = 2
    B2BUA = 3


class InbandSecurity(IntEnum):
    """Inband-Security-Id (RFC 6733 6.10)."""

    NONE = 0
    TLS = 1
