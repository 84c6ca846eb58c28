"""Which addresses are public, and which ones a provider's response may link to."""

from app.providers import addresses
from app.providers.addresses import EgressPolicy, Zone, zone
from tests.kit import Cases
from tests.providers.addresses import HOSTS, LOOPBACK, PRIVATE, PUBLIC, UNSPECIFIED


def test_the_table_of_spellings_is_long_and_without_repetition() -> None:
    assert len(HOSTS) == len(set(HOSTS)) > 100
    assert min(len(LOOPBACK), len(PRIVATE)) > 40
    assert len(UNSPECIFIED) > 5


def test_public_addresses_are_public() -> None:
    assert {address: zone(address) for address in PUBLIC} == dict.fromkeys(PUBLIC, Zone.PUBLIC)


def test_the_zones_of_other_addresses_are_distinguished() -> None:
    zones = {
        "127.0.0.1": Zone.LOOPBACK,
        "::1": Zone.LOOPBACK,
        "::ffff:127.0.0.1": Zone.LOOPBACK,
        "10.1.2.3": Zone.PRIVATE,
        "192.168.1.1": Zone.PRIVATE,
        "fd12:3456::1": Zone.PRIVATE,
        "169.254.169.254": Zone.FORBIDDEN,
        "fd00:ec2::254": Zone.FORBIDDEN,
        "fd20:ce::254": Zone.FORBIDDEN,
        "100.64.0.1": Zone.FORBIDDEN,
        "0.0.0.0": Zone.FORBIDDEN,  # noqa: S104
        "64:ff9b::10.0.0.1": Zone.FORBIDDEN,
        "not an address": Zone.FORBIDDEN,
    }
    assert {address: zone(address) for address in zones} == zones


async def test_a_response_may_only_link_to_public_addresses_and_its_providers_zone() -> None:
    table: list[tuple[list[str], EgressPolicy]] = [
        (["127.0.0.1", "::1"], EgressPolicy.LOOPBACK),
        (["10.0.0.5"], EgressPolicy.PRIVATE),
        (["fd12::5"], EgressPolicy.PRIVATE),
        (["10.0.0.5", "8.8.8.8"], EgressPolicy.PUBLIC),
        (["127.0.0.1", "10.0.0.5"], EgressPolicy.PUBLIC),
        (["169.254.169.254"], EgressPolicy.PUBLIC),
        (["8.8.8.8"], EgressPolicy.PUBLIC),
    ]
    with Cases() as cases:
        for found, policy in table:

            async def resolver(host: str, port: int, found: list[str] = found) -> list[str]:
                return found

            with cases.case(found):
                assert await addresses.provider_reach("provider.test", 80, resolver) is policy
