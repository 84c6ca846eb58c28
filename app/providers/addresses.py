"""Which addresses of the network a URL may lead to. A URL comes from a person, or from a provider's answer, and either
could point this server at itself, at its neighbours, or at the cloud's metadata service.

A host is judged by the addresses it resolves to and never by how it is spelled: there are too many spellings.
"""

import asyncio
import contextlib
import enum
import ipaddress
import socket
from collections.abc import Awaitable, Callable

Resolver = Callable[[str, int], Awaitable[list[str]]]


class Zone(enum.Enum):
    """Where an address lies."""

    PUBLIC = "public"
    LOOPBACK = "loopback"
    PRIVATE = "private"
    FORBIDDEN = "forbidden"  # metadata services, link-local, shared, reserved, or an address wrapped in another


class EgressPolicy(enum.Enum):
    """How far one request may go."""

    PUBLIC = "public"
    LOOPBACK = "loopback"  # public, and this machine: what a provider on this machine may point to
    PRIVATE = "private"  # public, and private networks: what a provider on such a network may point to
    ANYWHERE = "anywhere"  # an origin that the settings name

    def allows(self, address: str) -> bool:
        if self is EgressPolicy.ANYWHERE:
            return True
        where = zone(address)
        return where is Zone.PUBLIC or where.value == self.value


def _networks(*texts: str) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


_LOOPBACK = _networks("127.0.0.0/8", "::1/128")
_PRIVATE = _networks("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
# What `is_global` calls global, or called so in an older Python, and is not: plus the metadata services of clouds that
# chose an address outside the link-local range (Azure, AWS and Google over IPv6).
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
_UNICAST = ipaddress.IPv6Network("2000::/3")  # all of IPv6 that is routed publicly
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_ISATAP = (0x00005EFE, 0x02005EFE)  # the middle of an interface id that carries an IPv4 address


def zone(address: str) -> Zone:
    """Where the address lies; FORBIDDEN when it is no address at all."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return Zone.FORBIDDEN
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return zone(str(ip.ipv4_mapped))
        if ip in _NAT64:  # how a public IPv4 host looks from a network that has IPv6 alone
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
    """Every address of the host, in the order in which the system prefers them; OSError when there is none."""
    with contextlib.suppress(ValueError):
        return [str(ipaddress.ip_address(host))]
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError:
        raise OSError("not a host name") from None
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


async def provider_reach(host: str, port: int, resolver: Resolver) -> EgressPolicy:
    """How far an answer of the provider at `host` may point: never further than to its own kind of address."""
    try:
        zones = {zone(address) for address in await resolver(host, port)}
    except OSError:
        return EgressPolicy.PUBLIC
    if zones == {Zone.LOOPBACK}:
        return EgressPolicy.LOOPBACK
    return EgressPolicy.PRIVATE if zones == {Zone.PRIVATE} else EgressPolicy.PUBLIC
