"""Errors in OpenAI's envelope."""

from tests.kit import Cases
from tests.providers.simulator.kit import SimulatorClient
from tests.providers.simulator.openai.kit import OPENAI, chat, error_of, image, post

INVALID = "invalid_request_error"


def test_each_cause_has_openais_status_and_code(sim: SimulatorClient) -> None:
    table: dict[str, tuple[int, str, str | None]] = {
        "refuse": (400, "image_generation_user_error", "moderation_blocked"),
        "credits": (429, "insufficient_quota", "insufficient_quota"),
        "key-limit": (429, "insufficient_quota", "insufficient_quota"),
        "ratelimit-long": (429, "requests", "rate_limit_exceeded"),
        "in-flight": (429, "requests", "rate_limit_exceeded"),
        "busy": (429, "server_error", "slow_down"),
        "overloaded": (503, "server_error", None),
        "fail": (500, "server_error", None),
    }
    with Cases() as cases:
        for fault, (status, type, code) in table.items():
            with cases.case(fault, "image"):
                error_of(image(sim, f"[{fault}] Fog over OpenAI"), status, type, code)
            with cases.case(fault, "text"):
                error_of(chat(sim, f"[{fault}] Fog over OpenAI"), status, type, code)


def test_a_rate_limit_says_how_long_to_wait(sim: SimulatorClient) -> None:
    answer = image(sim, "[ratelimit-long] Fog")
    assert answer.headers["retry-after"] == "1800"
    assert "x-ratelimit-reset" not in answer.headers, "OpenRouter's"


def test_a_model_that_does_not_exist_is_not_found(sim: SimulatorClient) -> None:
    with Cases() as cases:
        for model in ("dall-e-3", "gpt-image-1", "openai/gpt-image-2"):
            with cases.case(model):
                error_of(image(sim, "Fog", model=model), 404, INVALID, "model_not_found")


def test_a_request_without_a_key_is_refused(sim: SimulatorClient) -> None:
    answer = sim.anonymous.get(f"{sim.origin}{OPENAI}/models")
    error_of(answer, 401, INVALID, "invalid_api_key")


def test_a_body_that_is_not_json_is_refused(sim: SimulatorClient) -> None:
    answer = sim.http.post(f"{sim.origin}{OPENAI}/chat/completions", content=b"{")
    error_of(answer, 400, INVALID, None)


def test_videos_are_no_longer_offered(sim: SimulatorClient) -> None:
    answer = post(sim, f"{OPENAI}/videos", {"model": "sora-2", "prompt": "Waves"})
    error_of(answer, 404, INVALID, None)
