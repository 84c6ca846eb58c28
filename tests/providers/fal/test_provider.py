"""fal as a provider: its models, and what it does not do."""

from pathlib import Path

import pytest

from app.providers.contract import ErrorCode, Failed, Failure, Kind, Provider
from tests.providers.fake_upstream import Upstream
from tests.providers.fal.kit import KEY, image_request, provider
from tests.providers.openrouter.kit import expect


async def test_the_described_models_are_offered_although_their_prices_are_unknown(upstream: Upstream) -> None:
    async with provider(upstream) as fal:
        implemented: Provider = fal
        offers = {offer.id: offer for offer in await fal.offers()}
    assert (implemented.name, implemented.can_cancel) == ("fal", True)
    assert {"fal-ai/flux/dev", "fal-ai/flux-pro/v1/fill", "fal-ai/stable-video"} <= set(offers)
    assert {request.path for request in upstream.requests} == {"/rest/v1/models/pricing"}


async def test_text_is_not_offered(upstream: Upstream, tmp_path: Path) -> None:
    request = image_request(kind=Kind.TEXT)
    async with provider(upstream) as fal:
        failed = expect(Failed, await fal.submit(request, tmp_path))
        with pytest.raises(Failure) as caught:
            [chunk async for chunk in fal.stream(request)]
    assert (failed.code, failed.carried_out) == (ErrorCode.NOT_OFFERED, False)
    assert caught.value.outcome == failed
    assert not upstream.requests


async def test_the_cost_of_a_job_needs_no_further_request(upstream: Upstream) -> None:
    async with provider(upstream) as fal:
        assert await fal.cost_nano("any") is None


async def test_a_key_that_cannot_be_sent_is_refused_and_not_shown(upstream: Upstream) -> None:
    with pytest.raises(ValueError, match="Authorization") as caught:
        async with provider(upstream, key=f"{KEY}\nX: y"):
            pass
    assert KEY not in str(caught.value)


async def test_the_representation_shows_no_key(upstream: Upstream) -> None:
    async with provider(upstream) as fal:
        assert KEY not in repr(fal)
