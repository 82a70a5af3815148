"""SSRF guard: checks a webhook URL when it is given, and the address of the socket at each attempt.

A name may resolve to another address each time (DNS rebinding), so only the socket shows where the bytes go, and names
are not resolved when a URL is given.
"""

import errno
import ipaddress
import re
import socket
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

import aiohttp
from aiohttp.client import ClientTimeout
from aiohttp.client_reqrep import ClientRequest
from aiohttp.connector import AddrInfoType, Connection
from aiohttp.tracing import Trace

from tunehook.errors import TunehookError
from tunehook.security.allow_list import (
    EVERYWHERE,
    HOST_NAME,
    LOOKS_LIKE_IPV4,
    NOTHING,
    SETTING,
    Address,
    AllowList,
    Network,
)

MAX_URL = 2048  # characters
PORTS = (443, 8443)
# IANA's special-purpose registries (RFC 6890 and its updates), and one cloud's address that looks public.
# `ipaddress.is_global` is not enough: Python 3.11's takes multicast, 192.88.99.1 and 2002::/16 for global.
_DENIED_4 = {
    "0.0.0.0/8": "this host",
    "10.0.0.0/8": "private",
    "100.64.0.0/10": "shared by a provider's customers",
    "127.0.0.0/8": "loopback",
    "168.63.129.16/32": "Azure's host agent",
    "169.254.0.0/16": "link-local, where clouds keep credentials",
    "172.16.0.0/12": "private",
    "192.0.0.0/24": "protocol assignments",
    "192.0.2.0/24": "documentation",
    "192.31.196.0/24": "AS112",
    "192.52.193.0/24": "multicast tunnels",
    "192.88.99.0/24": "6to4 relays",
    "192.168.0.0/16": "private",
    "192.175.48.0/24": "AS112",
    "198.18.0.0/15": "benchmarks",
    "198.51.100.0/24": "documentation",
    "203.0.113.0/24": "documentation",
    "224.0.0.0/4": "multicast",
    "240.0.0.0/4": "reserved",
}
# Everything outside 2000::/3 is refused anyway: loopback, link-local, private (fc00::/7), multicast, NAT64, …
_DENIED_6 = {
    "2001::/23": "protocol assignments and Teredo, which carries an IPv4 address",
    "2001:db8::/32": "documentation",
    "2002::/16": "6to4, which carries an IPv4 address",
    "2620:4f:8000::/48": "AS112",
    "3fff::/20": "documentation",
}
_DENIED: tuple[tuple[Network, str], ...] = tuple(
    (ipaddress.ip_network(text), why) for text, why in (_DENIED_4 | _DENIED_6).items()
)
_PUBLIC_6 = ipaddress.IPv6Network("2000::/3")
# This machine or this network: RFC 6761, 6762 and 8375, ICANN's .internal, and what routers hand out.
_LOCAL_NAMES = re.compile(
    r"(?:.*\.)?(?:localhost|localdomain|local|internal|intranet|private|corp|home|lan|home\.arpa)"
)
_URL = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<rest>[^#]*)(?P<fragment>#.*)?", re.IGNORECASE
)
_AUTHORITY = re.compile(r"(?P<host>\[[^\[\]]*\]|[^:\[\]]*)(?::(?P<port>[1-9][0-9]{0,4}))?")


class AddressRefused(TunehookError):
    """Webhooks are not sent there: {rule}."""


class SocketRefused(AddressRefused, OSError):
    """Webhooks are not sent there: {rule}."""

    # An OSError, because aiohttp then goes on to the name's next address, and hands over this one as the
    # `os_error` of its ClientConnectorError; anything else its race of addresses swallows.
    def __init__(self, rule: str) -> None:
        AddressRefused.__init__(self, rule=rule)
        self.errno, self.strerror = errno.EACCES, str(self.args[0])


@lru_cache(maxsize=256)
def check_url(url: str, allow: AllowList = NOTHING) -> None:
    """Raises AddressRefused, naming the rule and the setting, unless webhooks may be sent to this URL.

    Only one plain spelling of each URL passes, so that no two parsers read two hosts in it.
    """
    if len(url) > MAX_URL:
        raise AddressRefused(rule=f"its URL has {len(url)} characters, and at most {MAX_URL} are taken")
    if not re.fullmatch(r"[!-\[\]-~]+", url):
        raise AddressRefused(
            rule="its URL is not all visible ASCII without backslashes (write %XX in a path, xn--… in a host)"
        )
    parts = _URL.fullmatch(url)
    if parts is None or parts["scheme"].lower() not in ("http", "https"):
        raise AddressRefused(rule="its URL does not start with https://")
    if parts["fragment"] is not None:
        raise AddressRefused(rule="its URL has a #fragment, which is never sent")
    if "@" in parts["authority"]:
        raise AddressRefused(rule="its URL has user info before @; deliveries carry a signature instead")
    place = _AUTHORITY.fullmatch(parts["authority"])
    if place is None or int(place["port"] or 0) > 65535:
        raise AddressRefused(rule="its URL has no plain host, or no port from 1 to 65535")

    host = place["host"].lower()
    if _is_permitted(host, allow):
        return
    if parts["scheme"].lower() != "https":
        raise AddressRefused(rule="plain http" + _unless(host))
    if int(place["port"] or 443) not in PORTS:
        raise AddressRefused(rule="a port other than 443 and 8443" + _unless(host))


def check_address(ip: str, allow: AllowList = NOTHING) -> None:
    """Raises AddressRefused unless `ip`, in its plain spelling, is public or in a network of `allow`."""
    try:
        address: Address = ipaddress.ip_address(ip)
    except ValueError:
        raise AddressRefused(rule=f"`{ip}` is not an IP address in its plain form") from None
    # ::ffff:127.0.0.1 reaches 127.0.0.1. What else carries an IPv4 address inside (NAT64, 6to4, Teredo, the
    # deprecated ::127.0.0.1) is refused as a whole.
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            raise AddressRefused(rule=f"`{ip}` names a network interface")
        address = address.ipv4_mapped or address
    if allow.holds(address):
        return
    for network, why in _DENIED:
        if address in network:
            raise AddressRefused(rule=f"{address} is in {network} ({why})" + _unless(address))
    if isinstance(address, ipaddress.IPv6Address) and address not in _PUBLIC_6:
        raise AddressRefused(rule=f"{address} is outside {_PUBLIC_6}" + _unless(address))


# Set while a request connects whose host the operator permits by name; sockets are made in tasks of that
# request, which inherit it. Pooled connections are kept by host, so none is reused for another name.
_host_is_permitted: ContextVar[bool] = ContextVar("_host_is_permitted", default=False)


class _GuardedConnector(aiohttp.TCPConnector):
    def __init__(self, allow: AllowList, **options: Any) -> None:
        super().__init__(socket_factory=self._make_socket, **options)
        self._allow = allow

    async def connect(
        self,
        req: ClientRequest,
        traces: list[Trace],
        timeout: ClientTimeout,  # noqa: ASYNC109 aiohttp's own signature
    ) -> Connection:
        before = _host_is_permitted.set(self._allow.names(req.url.raw_host or ""))
        try:
            return await super().connect(req, traces, timeout)
        finally:
            _host_is_permitted.reset(before)

    def _make_socket(self, target: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, place = target
        try:
            # Always an address: a name would be resolved again after this check.
            check_address(str(place[0]), EVERYWHERE if _host_is_permitted.get() else self._allow)
        except AddressRefused as refused:
            raise SocketRefused(refused.fields["rule"]) from None
        return socket.socket(family, kind, protocol)


def guarded_connector(allow: AllowList, **options: Any) -> aiohttp.TCPConnector:
    """Returns a connector that opens sockets that `allow` permits. `options`: aiohttp.TCPConnector's.

    A refusal is a SocketRefused, the `os_error` of the aiohttp.ClientConnectorError that a request raises.
    To be used with `trust_env=False`: through a proxy, the proxy's address is what is checked.
    """
    return _GuardedConnector(allow, **options)


def _is_permitted(host: str, allow: AllowList) -> bool:
    """Returns True for a permitted host, False for one that looks public; raises AddressRefused."""
    if host.startswith("[") and ":" in host:
        return _literal_is_permitted(host[1:-1], allow)
    if LOOKS_LIKE_IPV4.fullmatch(host):
        return _literal_is_permitted(host, allow)
    if not HOST_NAME.fullmatch(host):
        raise AddressRefused(
            rule=f"`{host}` is not a host name of letters, digits and dots (no dot at its end, no empty part)"
        )
    if allow.names(host):
        return True
    if "." not in host:
        raise AddressRefused(rule=f"`{host}` is a name within some network" + _unless(host))
    if _LOCAL_NAMES.fullmatch(host):
        raise AddressRefused(rule=f"`{host}` is a name of a private network" + _unless(host))
    return False


def _literal_is_permitted(text: str, allow: AllowList) -> bool:
    check_address(text, allow)
    address = ipaddress.ip_address(text)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return allow.holds(mapped or address)


def _unless(host: str | Address) -> str:
    return f"; the operator can permit it by adding `{host}` to {SETTING}"
