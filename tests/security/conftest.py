"""A program with its rate limits on, whose time the tests move."""

from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from tests.kit import new_email
from tests.studio import PASSWORD, Studio, running

HOUR = 3600.0


class Timer:
    """The seconds by which rate limits are counted, standing still until they are moved."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds

    def advance(self, seconds: float) -> None:
        self.seconds += seconds


class Throttled:
    """The program, its timer, and clients by the address that they come from."""

    def __init__(self, studio: Studio, timer: Timer) -> None:
        self.studio = studio
        self.timer = timer

    def client(self, token: str | None = None, address: str = "127.0.0.1") -> httpx.AsyncClient:
        return self.studio.direct(token, address=address)

    async def registered(self) -> str:
        """The email of a new user, registered without a request that would be counted."""
        email = new_email("throttled")
        await self.studio.program.accounts.registration.register(email, PASSWORD)
        return email

    async def token(self) -> str:
        """The access token of a new user."""
        return (
            await self.studio.program.accounts.sign_in.start_token_session(await self.registered(), PASSWORD)
        ).access_token


@pytest_asyncio.fixture(scope="session")
async def throttled_program(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Throttled]:
    timer = Timer()
    async with running(tmp_path_factory.mktemp("throttled"), timer=timer, ATELIER_RATE_LIMITS="on") as studio:
        yield Throttled(studio, timer)


@pytest.fixture
async def throttled(throttled_program: Throttled) -> Throttled:
    """The program with its rate limits on; nothing that another test did is counted any more."""
    throttled_program.timer.advance(HOUR)
    return throttled_program
