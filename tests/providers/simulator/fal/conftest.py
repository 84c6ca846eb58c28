"""A client of the simulated fal that knows only the wire format."""

from typing import Any

import httpx
import pytest

from tests.providers.simulator.kit import Json, SimulatorClient

MODEL = "fal-ai/flux/dev"


class FalClient:
    """`http` sends the key in fal's own scheme."""

    def __init__(self, simulator: SimulatorClient) -> None:
        self.queue = f"{simulator.origin}/fal/queue"
        self.rest = f"{simulator.origin}/fal/rest"
        self.http = simulator.anonymous
        self.headers = {"Authorization": "Key id:secret"}

    def submit(self, prompt: str, model: str = MODEL, **more: Any) -> httpx.Response:
        return self.http.post(f"{self.queue}/{model}", json={"prompt": prompt, **more}, headers=self.headers)

    def submitted(self, prompt: str, model: str = MODEL, **more: Any) -> Json:
        answer = self.submit(prompt, model, **more)
        assert answer.status_code == 200, answer.text
        body: Json = answer.json()
        return body

    def get(self, url: str, **query: Any) -> httpx.Response:
        return self.http.get(url, params=query, headers=self.headers)

    def put(self, url: str) -> httpx.Response:
        return self.http.put(url, headers=self.headers)

    def result(self, prompt: str, model: str = MODEL, **more: Any) -> httpx.Response:
        """Submit and read the result."""
        return self.get(self.submitted(prompt, model, **more)["response_url"])


@pytest.fixture
def fal(sim: SimulatorClient) -> FalClient:
    return FalClient(sim)


@pytest.fixture
def timed_fal(timed: SimulatorClient) -> FalClient:
    """The simulator with normal delays, controlled by `clock`."""
    return FalClient(timed)
