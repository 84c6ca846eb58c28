"""Five hundred concurrent sign-ins, and the cost of authenticating a request.

python -m tests.benchmarks.signing_in
"""

import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

from app.main import open_app
from tests.benchmarks import load
from tests.benchmarks.processes import USER, health_probe, studio
from tests.benchmarks.results import Result, run
from tests.studio import settings

SIGN_INS = 500
USERS = 20
CHECKS = 5_000
TIMEOUT = 60.0  # seconds


async def concurrent_sign_ins() -> AsyncIterator[Result]:
    """A password hash is expensive on purpose; other requests must not wait for it."""
    with tempfile.TemporaryDirectory() as temporary:
        async with studio(Path(temporary)) as system:
            url = system.atelier.url
            users = [{**USER, "email": f"user{number}@studio.example"} for number in range(USERS)]
            registrations: list[load.Request] = [("POST", "/api/v1/auth/register", user) for user in users]
            await load.run_requests(url, registrations, connections=USERS, expected=lambda answer: answer.status == 201)
            sign_ins: list[load.Request] = [
                ("POST", "/api/v1/auth/login", users[number % USERS]) for number in range(SIGN_INS)
            ]
            async with health_probe(url) as probe:
                took, answers = await load.run_requests(
                    url, sign_ins, connections=SIGN_INS, expected=lambda answer: answer.status == 200
                )
        slowest = max(answer.seconds for answer in answers)
        yield Result(
            name="500 concurrent sign-ins: the last one is done after",
            value=slowest,
            unit="s",
            target=f"<= {TIMEOUT:.0f}",
            workload=f"{SIGN_INS} connections, {USERS} users, throttles off; all succeed; {SIGN_INS / took:.0f}/s",
        )
        yield Result(
            name="slowest other answer meanwhile",
            value=probe[0].slowest,
            unit="ms",
            target="<= 100",
            workload=f"/health from another process, {probe[0].requests} times",
            comparison=str(probe[0]),
        )


async def bearer_checks() -> AsyncIterator[Result]:
    """Without HTTP: the cost of authentication for each request."""
    with tempfile.TemporaryDirectory() as temporary:
        async with open_app(settings(Path(temporary))) as program:
            await program.accounts.registration.register(USER["email"], USER["password"])
            tokens = await program.accounts.sign_in.start_token_session(USER["email"], USER["password"])
            authenticated = await program.accounts.authentication.by_bearer(tokens.access_token)
            key = (await program.accounts.api_keys.add(authenticated.user.id, "benchmark")).secret
            for name, bearer in (("access token", tokens.access_token), ("API key", key)):
                await program.accounts.authentication.by_bearer(bearer)
                began = time.perf_counter()
                for _ in range(CHECKS):
                    await program.accounts.authentication.by_bearer(bearer)
                yield Result(
                    name=f"bearer check, {name}",
                    value=(time.perf_counter() - began) / CHECKS * 1000,
                    unit="ms",
                    target="<= 0.2",
                    workload=f"{CHECKS} in a row, without HTTP",
                )


if __name__ == "__main__":
    run(concurrent_sign_ins, bearer_checks)
