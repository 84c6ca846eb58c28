"""Every provider against its persona: what it generates, and how each failure of the service ends."""

from pathlib import Path

import jsonschema_rs
import msgspec
import pytest

from app.providers.contract import (
    Completed,
    ErrorCode,
    Failed,
    Failure,
    Kind,
    Pending,
    Preview,
    Provider,
    Request,
    Retryable,
    UpstreamJob,
)
from tests.kit import Cases
from tests.providers.conformance.jobs import files_below, outcome_of, unique
from tests.providers.conformance.under_test import ProviderUnderTest
from tests.providers.openrouter.kit import expect, new_folder
from tests.providers.simulator.kit import SimulatorClient

HALF_AN_HOUR = 1800
MAGIC = {Kind.IMAGE: (0, b"\x89PNG"), Kind.VIDEO: (4, b"ftyp")}


def needs(under_test: ProviderUnderTest, fault: str) -> None:
    if fault not in under_test.faults:
        pytest.skip(f"the persona of {under_test.name} does not play {fault}")


def needs_text(under_test: ProviderUnderTest) -> None:
    if Kind.TEXT not in under_test.requests:
        pytest.skip(f"{under_test.name} has no text")


async def test_models_are_offered_with_schemas_that_their_own_defaults_fit(
    under_test: ProviderUnderTest, persona: Provider
) -> None:
    offers = {offer.id: offer for offer in await persona.offers()}
    with Cases() as cases:
        for kind, request in under_test.requests.items():
            with cases.case(kind):
                offer = offers[request.model]
                assert kind in offer.output_modalities
                assert offer.route == request.route
                jsonschema_rs.validate(offer.parameters, request.params)
        for offer in offers.values():
            with cases.case(offer.id):
                properties = offer.parameters["properties"]
                defaults = {name: schema["default"] for name, schema in properties.items() if "default" in schema}
                jsonschema_rs.validate(offer.parameters, defaults)
                assert offer.name


async def test_text_is_generated(under_test: ProviderUnderTest, persona: Provider, tmp_path: Path) -> None:
    needs_text(under_test)
    done = expect(Completed, await outcome_of(persona, under_test.request(Kind.TEXT, unique("Hello")), tmp_path))
    assert done.text
    assert done.usage is not None
    assert done.usage.total_tokens
    assert (done.cost_nano is not None) == under_test.reports_cost


async def test_images_and_videos_are_generated_as_files(
    under_test: ProviderUnderTest, persona: Provider, tmp_path: Path
) -> None:
    with Cases() as cases:
        for kind in under_test.media:
            request = under_test.request(kind, unique("[stamp] A lighthouse"))
            with cases.case(kind):
                done = expect(Completed, await outcome_of(persona, request, tmp_path))
                offset, magic = MAGIC[kind]
                assert done.media[0].path.read_bytes()[offset:][:4] == magic
                assert done.cost_nano is not None or not under_test.reports_cost


async def test_an_image_with_previews_is_the_same_result(
    under_test: ProviderUnderTest, persona: Provider, tmp_path: Path
) -> None:
    previews: list[Preview] = []
    request = under_test.request(Kind.IMAGE, unique("[stamp] A lighthouse"))
    wanted = msgspec.structs.replace(request, previews=2, on_preview=previews.append)
    done = expect(Completed, await outcome_of(persona, wanted, tmp_path))
    assert len(done.media) == 1
    assert all(preview.decoded() for preview in previews)


async def test_text_is_streamed_with_the_usage_at_the_end(under_test: ProviderUnderTest, persona: Provider) -> None:
    needs_text(under_test)
    request = under_test.request(Kind.TEXT, unique("Count to ten"))
    chunks = [chunk async for chunk in persona.stream(request)]
    assert "".join(chunk.delta for chunk in chunks)
    assert (chunks[-1].finish_reason, chunks[-1].delta) == ("stop", "")
    assert chunks[-1].usage is not None
    assert (chunks[-1].cost_nano is not None) == under_test.reports_cost


async def test_a_stream_that_breaks_off_is_a_failure_after_its_text(
    under_test: ProviderUnderTest, persona: Provider
) -> None:
    needs_text(under_test)
    with Cases() as cases:
        for fault in ("cut", "error-in-stream"):
            received: list[str] = []
            with cases.case(fault), pytest.raises(Failure) as failure:
                await read(persona, under_test.request(Kind.TEXT, unique(f"[{fault}] Count to ten")), received)
            with cases.case(fault, "text"):
                assert "".join(received)
                assert isinstance(failure.value.outcome, Failed), "it is paid for"


async def read(provider: Provider, request: Request, into: list[str]) -> None:
    async for chunk in provider.stream(request):
        into.append(chunk.delta)


async def test_a_request_with_an_unknown_outcome_is_sent_once(
    under_test: ProviderUnderTest, persona: Provider, simulator: SimulatorClient, tmp_path: Path
) -> None:
    needs(under_test, "ambiguous")
    with Cases() as cases:
        for kind in under_test.requests:
            prompt = unique("[ambiguous] Once")
            with cases.case(kind):
                failed = expect(Failed, await outcome_of(persona, under_test.request(kind, prompt), tmp_path))
                assert failed.code is ErrorCode.OUTCOME_UNKNOWN
                assert len(simulator.submits(prompt)) == 1


async def test_refused_content_and_missing_credit_are_final(
    under_test: ProviderUnderTest, persona: Provider, simulator: SimulatorClient, tmp_path: Path
) -> None:
    codes = {"refuse": ErrorCode.PROVIDER_REFUSED, "credits": ErrorCode.PROVIDER_FAILED}
    with Cases() as cases:
        for fault, code in codes.items():
            for kind in under_test.requests:
                prompt = unique(f"[{fault}] A lighthouse")
                with cases.case(fault, kind):
                    failed = expect(Failed, await outcome_of(persona, under_test.request(kind, prompt), tmp_path))
                    assert failed.code is code
                    assert not simulator.submits(prompt), "nothing was charged"


async def test_a_failed_generation_is_never_a_result(
    under_test: ProviderUnderTest, persona: Provider, tmp_path: Path
) -> None:
    with Cases() as cases:
        for fault in ("fail", "cut"):
            for kind in under_test.requests:
                with cases.case(fault, kind):
                    outcome = await outcome_of(persona, under_test.request(kind, unique(f"[{fault}] Fog")), tmp_path)
                    assert not isinstance(outcome, Completed)


async def test_a_busy_provider_did_nothing_and_says_how_long_to_wait(
    under_test: ProviderUnderTest, persona: Provider, simulator: SimulatorClient, tmp_path: Path
) -> None:
    with Cases() as cases:
        for kind in under_test.requests:
            request = under_test.request(kind, unique("[ratelimit-long] [stamp] Later"))
            with cases.case(kind, "busy"):
                busy = expect(Retryable, await persona.submit(request, new_folder(tmp_path)))
                assert busy.wait == HALF_AN_HOUR
                assert not simulator.submits(request.prompt)
            request = under_test.request(kind, unique("[ratelimit] [stamp] Later"))
            with cases.case(kind, "again"):
                expect(Retryable, await persona.submit(request, new_folder(tmp_path)))
                expect(Completed, await outcome_of(persona, request, tmp_path))
                assert len(simulator.submits(request.prompt)) == 1


async def test_a_connection_that_breaks_is_never_retried_by_itself(
    under_test: ProviderUnderTest, persona: Provider, tmp_path: Path
) -> None:
    with Cases() as cases:
        for kind in under_test.requests:
            with cases.case(kind):
                outcome = await outcome_of(persona, under_test.request(kind, unique("[unreachable] Fog")), tmp_path)
                assert expect(Failed, outcome).code is ErrorCode.OUTCOME_UNKNOWN, "the request had been sent"


async def test_a_result_above_the_limit_is_too_large(
    under_test: ProviderUnderTest, persona: Provider, tmp_path: Path
) -> None:
    with Cases() as cases:
        for kind in under_test.requests:
            with cases.case(kind):
                outcome = await outcome_of(persona, under_test.request(kind, unique("[huge] A wall")), tmp_path)
                assert expect(Failed, outcome).code is ErrorCode.RESULT_TOO_LARGE
    assert files_below(tmp_path) == [], "no part of a result is left"


async def test_a_job_in_progress_stays_the_same_job(
    under_test: ProviderUnderTest, persona: Provider, tmp_path: Path
) -> None:
    with Cases() as cases:
        for kind in under_test.polled:
            folder = new_folder(tmp_path)
            with cases.case(kind):
                first = expect(Pending, await persona.submit(under_test.request(kind, unique("[stuck] Fog")), folder))
                second = expect(Pending, await persona.poll(first.upstream_job, folder))
                third = expect(Pending, await persona.poll(second.upstream_job, folder))
                assert first.upstream_job.id == second.upstream_job.id == third.upstream_job.id
        with cases.case("none is polled"):
            assert set(under_test.polled) <= under_test.requests.keys()


async def test_a_cancelled_job_ends_where_the_provider_can_cancel(
    under_test: ProviderUnderTest, persona: Provider, tmp_path: Path
) -> None:
    with Cases() as cases:
        for kind in under_test.polled:
            folder = new_folder(tmp_path)
            with cases.case(kind):
                pending = expect(Pending, await persona.submit(under_test.request(kind, unique("[stuck] X")), folder))
                assert await persona.cancel(pending.upstream_job) is persona.can_cancel
                after = await persona.poll(pending.upstream_job, folder)
                assert isinstance(after, Failed if persona.can_cancel else Pending)
        with cases.case("a job that does not exist"):
            assert await persona.cancel(UpstreamJob("gen-vid-1-unknown")) is False


async def test_a_result_that_is_gone_has_expired(
    under_test: ProviderUnderTest, persona: Provider, tmp_path: Path
) -> None:
    needs(under_test, "gone")
    with Cases() as cases:
        for kind in under_test.polled:
            with cases.case(kind):
                outcome = await outcome_of(persona, under_test.request(kind, unique("[gone] Fog")), tmp_path)
                assert expect(Failed, outcome).code is ErrorCode.PROVIDER_EXPIRED
        with cases.case("none is polled"):
            assert set(under_test.polled) <= under_test.requests.keys()


async def test_the_key_never_reaches_another_origin(
    under_test: ProviderUnderTest, persona: Provider, simulator: SimulatorClient, tmp_path: Path
) -> None:
    for kind in under_test.media:
        request = under_test.request(kind, unique("[redirect] [stamp] Away"))
        expect(Completed, await outcome_of(persona, request, tmp_path))
    visits = simulator.anonymous.get(f"{simulator.origin}/simulator/redirects").json()
    assert not any(visit["authorization"] for visit in visits)
