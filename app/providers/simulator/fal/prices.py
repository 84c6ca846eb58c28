"""What each model costs, as fal's platform API lists it: images by the image, videos by the second."""

from litestar import get
from litestar.types import ASGIApp

from app.providers.contract import ModelOffer
from app.providers.fal.descriptions import described
from app.providers.simulator import responses
from app.providers.simulator.fal.admission import require_fal_key
from app.providers.simulator.fal.errors import FalErrorAnswer
from app.providers.simulator.openai_format.admission import PlainRequest

IMAGE, SECOND = 0.035, 0.14  # USD
MAX_MODELS = 50


@get("/v1/models/pricing", guards=[require_fal_key])
async def pricing(request: PlainRequest) -> ASGIApp:
    """The prices of the models that are asked for; unknown ones are left out."""
    ids = request.query_params.getall("endpoint_id", [])
    if not 1 <= len(ids) <= MAX_MODELS:
        raise FalErrorAnswer(400, f"Name 1 to {MAX_MODELS} endpoints")
    offers = described()
    prices = [_price(offers[id]) for id in ids if id in offers]
    return responses.json_response({"prices": prices, "next_cursor": None, "has_more": False})


def price_of(offer: ModelOffer) -> float:
    """USD for one image or second."""
    return SECOND if "video" in offer.output_modalities else IMAGE


def _price(offer: ModelOffer) -> dict[str, object]:
    unit = "seconds" if "video" in offer.output_modalities else "images"
    return {"endpoint_id": offer.id, "unit_price": price_of(offer), "unit": unit, "currency": "USD"}


HANDLERS = [pricing]
