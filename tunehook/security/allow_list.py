"""Allow list: the private addresses that TUNEHOOK_WEBHOOK_ALLOW permits webhooks to be sent to."""

import ipaddress
import re
from dataclasses import dataclass

from tunehook.errors import TunehookError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
SETTING = "TUNEHOOK_WEBHOOK_ALLOW"
_LABEL = r"(?!-)[a-z0-9_-]{1,63}(?<!-)"
HOST_NAME = re.compile(rf"(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})*")
# Browsers and inet_aton read these as IPv4: 2130706433, 0x7f.1, 0177.0.0.1, 127.1, example.0.
LOOKS_LIKE_IPV4 = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")


class AllowListMalformed(TunehookError):
    """TUNEHOOK_WEBHOOK_ALLOW holds `{entry}`, and {why}."""


@dataclass(frozen=True, slots=True)
class AllowList:
    """Host names and networks that are permitted though they are private, with plain http and any port.

    A host name permits all addresses that it resolves to, for requests to that name alone.
    """

    hosts: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()

    @classmethod
    def parse(cls, text: str) -> "AllowList":
        """Reads a list such as `receiver, hooks.corp.example, 10.0.0.0/8, [::1]`. Raises AllowListMalformed."""
        hosts: set[str] = set()
        networks: list[Network] = []
        for entry in filter(None, (part.strip().lower() for part in text.split(","))):
            network = _network(entry)
            if network is not None:
                networks.append(network)
            elif HOST_NAME.fullmatch(entry) and not LOOKS_LIKE_IPV4.fullmatch(entry):
                hosts.add(entry)
            else:
                raise AllowListMalformed(entry=entry, why=_why_no_entry(entry))
        return cls(frozenset(hosts), tuple(networks))

    def names(self, host: str) -> bool:
        """Returns whether the list names `host`, which is in lower case."""
        return host in self.hosts

    def holds(self, address: Address) -> bool:
        return any(address in network for network in self.networks)


NOTHING = AllowList()
EVERYWHERE = AllowList(networks=(ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0")))


def _network(entry: str) -> Network | None:
    bare = re.sub(r"^\[(.*:.*)\](/[0-9]+)?$", r"\1\2", entry)
    try:
        network = ipaddress.ip_network(bare)
    except ValueError:
        return None
    # Addresses are unwrapped before they are compared, so such an entry would never match.
    if isinstance(network, ipaddress.IPv6Network) and network.network_address.ipv4_mapped is not None:
        return None
    return network


def _why_no_entry(entry: str) -> str:
    if "://" in entry:
        return "a host is given without `https://` and path"
    if "*" in entry:
        return "names are given in full, without `*`"
    if "/" in entry:
        try:
            return f"that network is written {ipaddress.ip_network(entry, strict=False)}"
        except ValueError:
            return "that is no network such as 10.0.0.0/8"
    if ":" in entry:
        return "a host is given without its port (any port is permitted); IPv4 addresses are given as such"
    return "that is neither a host name, nor an IP address, nor a network such as 10.0.0.0/8"
