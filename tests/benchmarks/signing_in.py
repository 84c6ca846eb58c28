"""Five hundred people at once, and what it costs to know one of them again.

python -m tests.benchmarks.signing_in
"""

import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

from app.main import open_app
from tests.benchmarks import load
from tests.benchmarks.figures import Figure, run
from tests.benchmarks.processes import PERSON, studio, witness
from tests.studio import settings

AT_ONCE = 500
PEOPLE = 20
CHECKS = 5_000
PATIENCE = 60.0  # seconds


async def at_once() -> AsyncIterator[Figure]:
    """Every password costs what it must; the others must not feel it."""
    with tempfile.TemporaryDirectory() as place:
        async with studio(Path(place)) as here:
            url = here.atelier.url
            people = [{**PERSON, "email": f"person{number}@studio.example"} for number in range(PEOPLE)]
            newcomers: list[load.Request] = [("POST", "/api/v1/auth/register", person) for person in people]
            await load.together(url, newcomers, connections=PEOPLE, expected=lambda answer: answer.status == 201)
            sign_ins: list[load.Request] = [
                ("POST", "/api/v1/auth/login", people[number % PEOPLE]) for number in range(AT_ONCE)
            ]
            async with witness(url) as fared:
                took, answers = await load.together(
                    url, sign_ins, connections=AT_ONCE, expected=lambda answer: answer.status == 200
                )
        slowest = max(answer.seconds for answer in answers)
        yield Figure(
            name="500 sign-ins at once: the last one is in after",
            value=slowest,
            unit="s",
            target=f"<= {PATIENCE:.0f}",
            workload=f"{AT_ONCE} connections, {PEOPLE} people, throttles off; all succeed; {AT_ONCE / took:.0f}/s",
        )
        yield Figure(
            name="slowest other answer meanwhile",
            value=fared[0].slowest,
            unit="ms",
            target="<= 100",
            workload=f"/health from another process, {fared[0].asked} times",
            beside=str(fared[0]),
        )


async def again() -> AsyncIterator[Figure]:
    """Without HTTP: what each request pays to know who asks."""
    with tempfile.TemporaryDirectory() as place:
        async with open_app(settings(Path(place))) as program:
            await program.accounts.register(PERSON["email"], PERSON["password"])
            tokens = await program.accounts.login(PERSON["email"], PERSON["password"])
            known = await program.accounts.by_bearer(tokens.access_token)
            key = (await program.accounts.add_key(known.user.id, "benchmark")).secret
            for name, bearer in (("access token", tokens.access_token), ("API key", key)):
                await program.accounts.by_bearer(bearer)
                began = time.perf_counter()
                for _ in range(CHECKS):
                    await program.accounts.by_bearer(bearer)
                yield Figure(
                    name=f"bearer check, {name}",
                    value=(time.perf_counter() - began) / CHECKS * 1000,
                    unit="ms",
                    target="<= 0.2",
                    workload=f"{CHECKS} in a row, without HTTP",
                )


if __name__ == "__main__":
    run(at_once, again)
