"""Which network addresses a URL may lead to: protection against server-side request forgery. URLs come from users and from
provider responses, and could point at this server, its private network, or a cloud metadata service.

A host is judged by the addresses it resolves to, never by its name: the same address has too many spellings.
"""

import asyncio
import contextlib
import enum
import ipaddress
import socket
from collections.abc import Awaitable, Callable

Resolver = Callable[[str, int], Awaitable[list[str]]]


class Zone(enum.Enum):
    """The kind of network an address belongs to."""

    PUBLIC = "public"
    LOOPBACK = "loopback"
    PRIVATE = "private"
    FORBIDDEN = "forbidden"  # metadata services, link-local, shared, reserved, or an address embedded in another


class EgressPolicy(enum.Enum):
    """Which zones one request may reach."""

    PUBLIC = "public"
    LOOPBACK = "loopback"  # public and loopback: for links from a provider on this machine
    PRIVATE = "private"  # public and private: for links from a provider on a private network
    ANYWHERE = "anywhere"  # for an origin named in the settings

    def allows(self, address: str) -> bool:
        if self is EgressPolicy.ANYWHERE:
            return True
        address_zone = zone(address)
        return address_zone is Zone.PUBLIC or address_zone.value == self.value


def _networks(*texts: str) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


_LOOPBACK = _networks("127.0.0.0/8", "::1/128")
_PRIVATE = _networks("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
# Ranges that `is_global` wrongly accepts, now or in older Python versions, and cloud metadata services outside the
# link-local range (Azure, and AWS and Google over IPv6).
_FORBIDDEN = _networks(
    "0.0.0.0/8",
    "100.64.0.0/10",
    "168.63.129.16/32",
    "169.254.0.0/16",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/3",
    "2001::/23",
    "2001:db8::/32",
    "2002::/16",
    "3fff::/20",
    "fd00:ec2::254/128",
    "fd20:ce::254/128",
)
_UNICAST = ipaddress.IPv6Network("2000::/3")  # the publicly routed part of IPv6
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_ISATAP = (0x00005EFE, 0x02005EFE)  # the middle of an interface id that carries an IPv4 address


def zone(address: str) -> Zone:
    """The zone of the address; FORBIDDEN when it is not a valid address."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return Zone.FORBIDDEN
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return zone(str(ip.ipv4_mapped))
        if ip in _NAT64:  # a public IPv4 host as seen from an IPv6-only network
            embedded = zone(str(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)))
            return Zone.PUBLIC if embedded is Zone.PUBLIC else Zone.FORBIDDEN
    if any(ip in network for network in _FORBIDDEN):
        return Zone.FORBIDDEN
    if any(ip in network for network in _LOOPBACK):
        return Zone.LOOPBACK
    if any(ip in network for network in _PRIVATE):
        return Zone.PRIVATE
    return Zone.PUBLIC if _is_public(ip) else Zone.FORBIDDEN


def _is_public(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    if isinstance(ip, ipaddress.IPv6Address) and (
        ip not in _UNICAST or (int(ip) >> 32) & 0xFFFFFFFF in _ISATAP or ip.scope_id is not None
    ):
        return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


async def resolve(host: str, port: int) -> list[str]:
    """All addresses of the host, in the system's order of preference. Raises OSError when there are none."""
    with contextlib.suppress(ValueError):
        return [str(ipaddress.ip_address(host))]
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError:
        raise OSError("not a host name") from None
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


async def provider_reach(host: str, port: int, resolver: Resolver) -> EgressPolicy:
    """Where links in responses of the provider at `host` may lead: public addresses, and the provider's own zone."""
    try:
        zones = {zone(address) for address in await resolver(host, port)}
    except OSError:
        return EgressPolicy.PUBLIC
    if zones == {Zone.LOOPBACK}:
        return EgressPolicy.LOOPBACK
    return EgressPolicy.PRIVATE if zones == {Zone.PRIVATE} else EgressPolicy.PUBLIC
