"""What fal's jobs cost: the units of a result times the price of one, which the platform API lists."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.providers.client import Client
from app.providers.contract import Completed, Pending
from app.providers.fal.descriptions import described
from app.providers.fal.prices import Prices
from tests.kit import Cases
from tests.providers.fake_upstream import Upstream, js, plain
from tests.providers.fal.kit import (
    AUTHORIZATION,
    KEY,
    MODEL,
    SUBMIT,
    accepted,
    image_request,
    on_result,
    provider,
    rest_url,
)
from tests.providers.openrouter.kit import PNG, expect

PRICES = "/rest/v1/models/pricing"


def listed(*rows: tuple[object, object, object, object]) -> dict[str, object]:
    names = ("endpoint_id", "unit_price", "unit", "currency")
    return {"prices": [dict(zip(names, row, strict=True)) for row in rows]}


@pytest.fixture
async def client(upstream: Upstream) -> AsyncIterator[Client]:
    client = Client([rest_url(upstream)])
    yield client
    await client.aclose()


@pytest.fixture
def prices(client: Client, upstream: Upstream) -> Prices:
    return Prices(client, rest_url(upstream), KEY)


async def test_a_result_costs_its_units(upstream: Upstream, tmp_path: Path) -> None:
    upstream.on("GET", PRICES, js(listed((MODEL, 0.0251, "images", "USD"))))
    upstream.on("POST", SUBMIT, accepted(upstream))
    upstream.on("GET", "/a.png", plain(PNG, "image/png"))
    on_result(upstream, js({"images": [{"url": f"{upstream.origin}/a.png"}]}, X_Fal_Billable_Units="3"))
    async with provider(upstream) as fal:
        pending = expect(Pending, await fal.submit(image_request(), tmp_path))
        done = expect(Completed, await fal.poll(pending.upstream_job, tmp_path))
    assert done.cost_nano == 75_300_000
    assert upstream.only("GET", PRICES).key == AUTHORIZATION


async def test_models_are_offered_at_their_prices_of_today(upstream: Upstream, prices: Prices) -> None:
    upstream.on(
        "GET",
        PRICES,
        js(
            listed(
                ("fal-ai/flux/dev", 0.03, "images", "USD"),
                ("fal-ai/veo3.1", "0.2", "second", "USD"),
                ("fal-ai/flux-2-pro", 0.05, "megapixels", "USD"),
                ("fal-ai/recraft/v3/text-to-image", 0.04, "images", "EUR"),
            )
        ),
    )
    offers = {offer.id: offer for offer in await prices.priced(described().values())}
    assert offers["fal-ai/flux/dev"].pricing == {"image_output": "0.03"}
    assert offers["fal-ai/veo3.1"].pricing == {"duration_seconds": "0.2"}
    assert offers["fal-ai/flux-2-pro"].pricing == {"megapixel": "0.05"}
    for unknown in ("fal-ai/recraft/v3/text-to-image", "fal-ai/flux/schnell"):
        assert offers[unknown] == described()[unknown]


async def test_a_cost_without_price_or_units_is_unknown(upstream: Upstream, prices: Prices) -> None:
    upstream.on("GET", PRICES, js(listed((MODEL, 0.03, "images", "USD"))))
    units = (None, "", "x", "-1", "NaN", "Infinity", "1e400", "9999999", "0x10")
    with Cases() as cases:
        for text in units:
            with cases.case(text):
                assert await prices.cost_nano(MODEL, text) is None
        with cases.case("another model"):
            assert await prices.cost_nano("fal-ai/other", "1") is None
            assert await prices.cost_nano("", "1") is None
        with cases.case("no units"):
            assert await prices.cost_nano(MODEL, "0") == 0
        with cases.case("a part of a unit"):
            assert await prices.cost_nano(MODEL, "0.5") == 15_000_000


async def test_what_is_no_price_list_leaves_costs_unknown_and_is_asked_for_once_an_hour(
    client: Client, upstream: Upstream
) -> None:
    replies = [
        js({}, 401),
        js([]),
        js(
            {
                "prices": [
                    {"endpoint_id": MODEL, "unit_price": price, "unit": "image"} for price in (None, -1, True, "x")
                ]
            }
        ),
        js({"prices": {"endpoint_id": MODEL}}),
        plain(b"<html>", "text/html"),
    ]
    with Cases() as cases:
        for reply in replies:
            upstream.reset()
            upstream.on("GET", PRICES, reply)
            now = [0.0]
            asked = Prices(client, rest_url(upstream), KEY, timer=lambda now=now: now[0])  # type: ignore[misc]
            with cases.case(reply.pieces):
                for _ in range(3):
                    assert await asked.cost_nano(MODEL, "1") is None
                assert len(upstream.requests) == 1
                now[0] += 3_601
                await asked.cost_nano(MODEL, "1")
                assert len(upstream.requests) == 2
