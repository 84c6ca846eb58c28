"""Sends requests that are generated from the API document, right and wrong alike, and collects what should not be answered.

A module of its own because schemathesis takes a second to import.
"""

from collections.abc import Collection, Iterator
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

from tests.kit import IMAGE_MODEL, IMAGE_TO_VIDEO_MODEL, TEXT_MODEL, VIDEO_MODEL
from tests.security.document import Document, Operation

# Left out: `positive_data_acceptance`, because a schema cannot say which models, jobs and files exist, so most of what
# fits it is refused rightly; `ignored_auth`, `unsupported_method` and `missing_required_header`, which `test_endpoints`
# checks for every call; `use_after_free` and `ensure_resource_availability`, which follow links that the document does not have.
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
]
# The models that a generated body is given, so that it is not refused for its model: what fits the schema seldom is one.
MODELS = {
    "POST /api/v1/generate/text": TEXT_MODEL,
    "POST /api/v1/generate/image": IMAGE_MODEL,
    "POST /api/v1/generate/video": VIDEO_MODEL,
    "POST /api/v1/generate/video/from-image": IMAGE_TO_VIDEO_MODEL,
    "POST /api/v1/ai/chat": TEXT_MODEL,
}
TIMEOUT = 300  # seconds for one request, which only a broken product needs


class Fuzz:
    """`problems` are the failed checks; `statuses` are those that each operation was answered with."""

    def __init__(self, url: str, bearer: str, document: Document, *, cases: int) -> None:
        """`cases` of each kind are sent to each operation; the same ones in each run."""
        self.problems: list[str] = []
        self.statuses: dict[str, set[int]] = {}
        self._url = url
        self._headers = {"Authorization": f"Bearer {bearer}"}
        self._document = document
        self._session = requests.Session()
        self._session.trust_env = False
        self._settings = hypothesis.settings(
            max_examples=cases,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        )

    def run(self, names: Collection[str]) -> None:
        """Send requests to the operations called `names`, as in `GET /health`. Blocks."""
        found: Any
        with self._session:
            for found in schemathesis.openapi.from_dict(self._document.body).get_all_operations():
                operation = found.ok()
                name = f"{operation.method.upper()} {operation.path}"
                if name in names:
                    for mode, model in self._kinds(name):
                        cases = operation.as_strategy(generation_mode=mode, headers=self._headers)
                        self._send(name, cases, model)

    def _kinds(self, name: str) -> Iterator[tuple[schemathesis.GenerationMode, str | None]]:
        """What fits the schema, that once more with a model that exists, and what does not fit the schema."""
        yield schemathesis.GenerationMode.POSITIVE, None
        if name in MODELS:
            yield schemathesis.GenerationMode.POSITIVE, MODELS[name]
        if _can_be_wrong(self._document.operations[name]):
            yield schemathesis.GenerationMode.NEGATIVE, None

    def _send(self, name: str, cases: Any, model: str | None) -> None:
        @self._settings
        @hypothesis.given(case=cases)
        def send(case: Any) -> None:
            if model is not None and isinstance(case.body, dict):
                case.body = {**case.body, "model": model}
            headers = {"Prefer": "respond-async"} if name.endswith("/image") else {}
            answer = case.call(base_url=self._url, session=self._session, headers=headers, timeout=TIMEOUT)
            self.statuses.setdefault(name, set()).add(answer.status_code)
            case.validate_response(answer, checks=CHECKS, headers=self._headers)

        try:
            send()
        except (Failure, FailureGroup, BaseExceptionGroup) as exc:
            self.problems.append(f"{name}: {exc!r}"[:2_000])


def _can_be_wrong(operation: Operation) -> bool:
    """Whether a request can violate the schema: it can not when the operation takes nothing but ids in its path."""
    ids_only = all(
        one["in"] == "path" and one["schema"] == {"type": "string"} for one in operation.spec.get("parameters", [])
    )
    return "requestBody" in operation.spec or not ids_only
