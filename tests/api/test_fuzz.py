"""Every call of the document with what nobody thought of: generated from the document itself, right and wrong alike.

No input may break anything, and every answer is one that the document promises. The cases are the same each time, and few
enough for every run of the suite; more of them: `FUZZ=200 pytest tests/api/test_fuzz.py`.
"""

import asyncio
import contextlib
import os
from collections.abc import Iterator
from typing import Any

import hypothesis
import requests
import schemathesis
import schemathesis.openapi
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from tests.api.kit import CLIP, FRAMED, PICTURE, TEXT
from tests.security.document import document
from tests.studio import Studio

CASES = int(os.environ.get("FUZZ", "10"))  # of each call and kind

# Left out: `positive_data_acceptance`, because a schema cannot say which models, jobs and files there are, so most of what
# fits it is refused rightly; `ignored_auth`, `unsupported_method` and `missing_required_header`, which `test_endpoints`
# holds for every call; `use_after_free` and `ensure_resource_availability`, which follow links that the document has not.
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
]
# A provider that fails is a 502 by contract, and the simulator fails for whoever asks it to; no generated prompt does.
UPSTREAM = 502
# The models that a generated body is given, so that it gets past the first door: what fits the schema is seldom one.
MODELS = {
    "POST /api/v1/generate/text": TEXT,
    "POST /api/v1/generate/image": PICTURE,
    "POST /api/v1/generate/video": CLIP,
    "POST /api/v1/generate/video/from-image": FRAMED,
    "POST /api/v1/ai/chat": TEXT,
}

SETTINGS = hypothesis.settings(
    max_examples=CASES,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[hypothesis.Phase.generate],
    suppress_health_check=list(hypothesis.HealthCheck),
)


class Fuzz:
    """Sends what schemathesis makes up, as the admin, and collects what should not have been answered."""

    def __init__(self, url: str, bearer: str) -> None:
        self.url = url
        self.problems: list[str] = []
        self.statuses: dict[str, set[int]] = {}
        self._session = requests.Session()
        self._session.trust_env = False
        self._proof = {"Authorization": f"Bearer {bearer}"}

    def all(self, body: dict[str, Any]) -> None:
        """Runs in a thread: schemathesis waits for its answers."""
        found: Any
        for found in schemathesis.openapi.from_dict(body).get_all_operations():
            operation = found.ok()
            name = f"{operation.method.upper()} {operation.path}"
            for mode in schemathesis.GenerationMode:
                for model in self._models(name, mode):
                    cases = operation.as_strategy(generation_mode=mode, headers=self._proof)
                    with contextlib.suppress(hypothesis.errors.Unsatisfiable):  # there is nothing to be wrong about
                        self._one(name, cases, model)
        self._session.close()

    def _models(self, name: str, mode: schemathesis.GenerationMode) -> Iterator[str | None]:
        """As it was made up, and then once more with a model that there is."""
        yield None
        if mode is schemathesis.GenerationMode.POSITIVE and name in MODELS:
            yield MODELS[name]

    def _one(self, name: str, cases: Any, model: str | None) -> None:
        @SETTINGS
        @hypothesis.given(case=cases)
        def send(case: Any) -> None:
            if model is not None and isinstance(case.body, dict):
                case.body = {**case.body, "model": model}
            headers = {"Prefer": "respond-async"} if name.endswith("/image") else {}
            answer = case.call(base_url=self.url, session=self._session, headers=headers, timeout=30)
            self.statuses.setdefault(name, set()).add(answer.status_code)
            case.validate_response(answer, checks=CHECKS, headers=self._proof)

        try:
            send()
        except (Failure, FailureGroup, BaseExceptionGroup) as problem:
            self.problems.append(f"{name}: {problem!r}"[:2_000])


async def test_nothing_that_can_be_made_up_breaks_anything(studio: Studio) -> None:
    admin = await studio.person("admin@studio.example")
    key = (await admin.post("/api/v1/users/me/keys", json={"name": "fuzz"})).json()["key"]
    described = await document(studio)
    fuzz = Fuzz(studio.url, key)
    await asyncio.to_thread(fuzz.all, described.body)
    assert fuzz.problems == []
    assert set(fuzz.statuses) == set(described.operations), "a call was left out"
    broken = {name: statuses for name, statuses in fuzz.statuses.items() if max(statuses - {UPSTREAM}) >= 500}
    assert broken == {}
    reached = {name for name, statuses in fuzz.statuses.items() if min(statuses) < 300}
    assert len(reached) > 30, "hardly anything got past the first door"
    assert (await studio.client(key).get("/api/v1/users/me")).json()[
        "role"
    ] == "admin"  # it was asked by one until the end
