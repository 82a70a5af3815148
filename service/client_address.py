"""The caller's address: the connection's, or what a trusted proxy says in X-Forwarded-For."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache

from aiohttp import web

from tunehook.setting_values import Address, Network

#: The proxies whose X-Forwarded-For is believed: TUNEHOOK_TRUSTED_PROXIES.
TRUSTED_PROXIES: web.AppKey[tuple[Network, ...]] = web.AppKey("trusted_proxies", tuple)
MOST_PROXIES = 16
#: `address:port` and `[address]:port`, as some proxies write.
_PORT = re.compile(r"\[([^\]]*)\](?::\d+)?|([\d.]+):\d+", re.ASCII)


def client_address(request: web.Request) -> str:
    """Returns the address of the caller, empty if unknown.

    Each proxy appends the address that called it, so the header is read from its end. The first address that is not
    a trusted proxy's is the caller's. What stands before it was sent by the caller, and may be forged.
    """
    trusted = request.app[TRUSTED_PROXIES]
    address = _parsed(request.remote or "")
    if address is None:
        return request.remote or ""
    entries = ",".join(request.headers.getall("X-Forwarded-For", ())).rsplit(",", MOST_PROXIES)[-MOST_PROXIES:]
    while entries and any(address in network for network in trusted):
        forwarded = _parsed(entries.pop())
        if forwarded is None:
            break
        address = forwarded
    return str(address)


@lru_cache(maxsize=1024)
def _parsed(text: str) -> Address | None:
    """Returns the address; one of IPv4 that is written as IPv6 becomes IPv4. None: it is no address."""
    text = text.strip()
    if match := _PORT.fullmatch(text):
        text = match[1] or match[2]
    try:
        address = ipaddress.ip_address(text)
        if getattr(address, "scope_id", None):
            return None
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
