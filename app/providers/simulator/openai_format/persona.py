"""In what services with OpenAI's format differ where they share a handler."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from app.providers.simulator.openai_format.errors import ErrorAnswer, bad_request, not_found
from app.providers.simulator.openai_format.models import Route, SimulatedModel


class Persona(msgspec.Struct, frozen=True, kw_only=True):
    """One service. `error` writes an error in its envelope; `id_header` names the response header with the request's id;
    `speech_format` is the format of speech when a request names none; with `image_links`, answers have links to images unless the
    request has a `response_format`."""

    models: Mapping[str, SimulatedModel]
    moderation_model: SimulatedModel
    unknown_model: Callable[[str], ErrorAnswer]
    error: Callable[[ErrorAnswer], dict[str, Any]]
    id_header: str
    speech_format: str
    reports_cost: bool
    recordings_in_json: bool
    image_links: bool = False

    def model_for(self, body: Mapping[str, Any], route: Route) -> SimulatedModel:
        """The requested model. Raises an error answer if it does not exist or does not support this route."""
        name = body.get("model")
        if not isinstance(name, str) or not name:
            raise bad_request("model: Required")
        if (model := self.models.get(name)) is None:
            raise self.unknown_model(name)
        if route not in model.routes:
            raise not_found(
                f"No endpoints found for {name} on this route. Its output modalities: {', '.join(model.outputs)}."
            )
        return model
