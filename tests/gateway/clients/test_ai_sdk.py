"""npm's package `ai` with its two providers for OpenAI's format: one for compatible servers (chat completions), one for OpenAI
itself (its own choice is the Responses API)."""

import base64
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.environments import EnvironmentFailed
from tests.gateway.clients.node_environment import node_environment, run_program
from tests.kit import IMAGE_MODEL, decoded_image, new_user
from tests.studio import Studio

MODEL = "anthropic/claude-sonnet-5"
IMPORT = """
import * as ai from "ai";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { z } from "zod";

const compatible = createOpenAICompatible({
  name: "studio", baseURL, apiKey, includeUsage: true, supportsStructuredOutputs: true,
});
const openai = createOpenAI({ baseURL, apiKey });
const model = { compatible, chat: openai.chat, responses: openai.responses }[given.provider](given.model);
const maxRetries = 0;
const tools = {
  get_weather: ai.tool({
    description: "The weather in a city.",
    inputSchema: z.object({ city: z.string() }),
    execute: async ({ city }) => given.weather ?? `18 degrees in ${city}`,
  }),
};
const Water = z.object({
  kind: z.enum(["river", "lake"]),
  places: z.array(z.object({ name: z.string(), depth: z.number().nullable() })),
});
"""
Run = Callable[..., Awaitable[Any]]

all_providers = pytest.mark.parametrize("provider", ["compatible", "chat", "responses"])


@pytest.fixture(scope="module")
def folder() -> Path:
    try:
        return node_environment()
    except EnvironmentFailed as exc:
        pytest.fail(f"the npm packages cannot be installed: {exc}")


@pytest.fixture
async def run(folder: Path, atelier: Studio) -> Run:
    """Runs a program for a new user; it assigns `result`."""
    user = await new_user(atelier)
    key = (await user.post("/api/v1/users/me/keys", json={"name": "laptop"})).json()["key"]

    async def run(program: str, **given: Any) -> Any:
        given = {"model": MODEL, "provider": "compatible", **given}
        return await run_program(folder, IMPORT + program, f"{atelier.url}/v1", key, given)

    return run


@all_providers
async def test_a_text_is_generated_with_its_usage(run: Run, provider: str) -> None:
    found = await run(
        """
        const { text, finishReason, usage } = await ai.generateText({ model, maxRetries, prompt: "Say exactly: north" });
        result = { text, finishReason, usage };
        """,
        provider=provider,
    )
    assert (found["text"], found["finishReason"]) == ("north", "stop")
    assert found["usage"]["outputTokens"] > 0


@all_providers
async def test_a_text_is_streamed_with_its_usage(run: Run, provider: str) -> None:
    found = await run(
        """
        const stream = ai.streamText({ model, maxRetries, prompt: "Say exactly: the tide is out" });
        const pieces = [];
        for await (const piece of stream.textStream) pieces.push(piece);
        result = { pieces, finishReason: await stream.finishReason, usage: await stream.usage };
        """,
        provider=provider,
    )
    assert len(found["pieces"]) > 1
    assert "".join(found["pieces"]) == "the tide is out"
    assert found["finishReason"] == "stop"
    assert found["usage"]["outputTokens"] > 0


@all_providers
async def test_an_object_fits_the_requested_schema(run: Run, provider: str) -> None:
    found = await run(
        """
        const prompt = "Describe the waters of Bavaria";
        const { object } = await ai.generateObject({ model, maxRetries, schema: Water, prompt });
        const { output } = await ai.generateText({ model, maxRetries, prompt, output: ai.Output.object({ schema: Water }) });
        result = [object, output];
        """,
        provider=provider,
    )
    assert [set(water) for water in found] == [{"kind", "places"}] * 2


@all_providers
async def test_a_tools_result_is_answered_whole_and_streamed(run: Run, provider: str) -> None:
    found = await run(
        """
        const request = {
          model, maxRetries, tools, prompt: "Use get_weather for Paris", stopWhen: ai.stepCountIs(5),
        };
        const whole = await ai.generateText(request);
        const stream = ai.streamText({ ...request });
        result = [[whole.steps.length, whole.text], [(await stream.steps).length, await stream.text]];
        """,
        provider=provider,
    )
    assert [steps for steps, _ in found] == [2, 2]
    assert all("18 degrees in Paris" in text for _, text in found)


@all_providers
async def test_a_tools_result_may_be_empty(run: Run, provider: str) -> None:
    steps = await run(
        """
        const prompt = "Use get_weather for Paris";
        const answer = await ai.generateText({ model, maxRetries, tools, prompt, stopWhen: ai.stepCountIs(5) });
        result = answer.steps.length;
        """,
        provider=provider,
        weather="",
    )
    assert steps == 2


@all_providers
async def test_an_answer_can_be_sent_back(run: Run, provider: str) -> None:
    found = await run(
        """
        const first = await ai.generateText({ model, maxRetries, prompt: "Say exactly: north" });
        const messages = [
          { role: "user", content: "Say exactly: north" },
          ...first.response.messages,
          { role: "user", content: "Say exactly: south" },
        ];
        result = (await ai.generateText({ model, maxRetries, messages })).text;
        """,
        provider=provider,
    )
    assert found == "south"


async def test_an_error_has_its_status_and_its_sentence(run: Run) -> None:
    found = await run(
        """
        result = await ai.generateText({ model, maxRetries, prompt: "Hello" })
          .catch((error) => ({ status: error.statusCode, message: error.message, retryable: error.isRetryable }));
        """,
        model="no/such-model",
    )
    assert found["status"] == 404
    assert "no/such-model" in found["message"]
    assert not found["retryable"]


@pytest.mark.parametrize("provider", ["compatible", "openai"])
async def test_texts_are_embedded(run: Run, provider: str) -> None:
    found = await run(
        """
        const name = "openai/text-embedding-3-small";
        const embedder = given.kind === "openai" ? openai.embeddingModel(name) : compatible.embeddingModel(name);
        const values = ["a glacier in the north", "glaciers of the north", "a recipe for bread"];
        const { embeddings, usage } = await ai.embedMany({ model: embedder, maxRetries, values });
        const { embedding } = await ai.embed({ model: embedder, maxRetries, value: values[0] });
        const near = ai.cosineSimilarity(embeddings[0], embeddings[1]);
        const far = ai.cosineSimilarity(embeddings[0], embeddings[2]);
        result = { same: embedding.every((number, place) => number === embeddings[0][place]), near, far, usage };
        """,
        kind=provider,
    )
    assert found["same"]
    assert found["near"] > found["far"]
    assert found["usage"]["tokens"] > 0


async def test_an_image_is_generated(run: Run) -> None:
    found = await run(
        """
        const image = compatible.imageModel(given.image_model);
        const { image: file } = await ai.generateImage({ model: image, maxRetries, prompt: "[stamp] a lighthouse" });
        result = file.base64;
        """,
        image_model=IMAGE_MODEL,
    )
    assert decoded_image(base64.b64decode(found)).size > (0, 0)
