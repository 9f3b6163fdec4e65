"""How is a connection encrypted? TLS from the first octet (RFC 6733 13.1), certificates at both ends."""

from __future__ import annotations

from gevent import ssl

from ocs.errors import OutsideError
from switch_adapters.diameter.config import Tls


def server_context(tls: Tls) -> ssl.SSLContext:
    """For connections that come in. Raises OutsideError if a file cannot be used."""
    context = _loaded(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), tls)
    context.verify_mode = ssl.CERT_REQUIRED if tls.demand_certificate else ssl.CERT_OPTIONAL
    return context


def client_context(tls: Tls) -> ssl.SSLContext:
    """For connections that we make. The peer's name is compared with its Origin-Host later, so not here."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    return _loaded(context, tls)


def _loaded(context: ssl.SSLContext, tls: Tls) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(tls.certificate, tls.key)
        context.load_verify_locations(tls.authority)
    except OSError as fault:  # ssl.SSLError is one
        raise OutsideError(
            f"Diameter cannot use {tls.certificate}, {tls.key} and {tls.authority}: {fault}",
            hint="three PEM files: our certificate, its key, the CA of the peers",
        ) from fault
    return context
