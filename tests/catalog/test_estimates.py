"""What a request will cost is known before it is sent, as a range where settings are open, and never as zero when it is unknown."""

from typing import Any

from app.catalog.estimates import estimate
from app.catalog.schemas import CostBasis, CostEstimate, Model, ModelDetails
from app.providers.contract import Outputs
from tests.kit import Cases

NANO = 1_000_000_000
RESOLUTION = {"type": "string", "enum": ["480p", "1080p"]}
DURATION = {"type": "integer", "enum": [4, 8]}


def model(kind: str, *, price: str = "", pricing: dict[str, str] | None = None, **properties: Any) -> Model:
    return Model(
        id="m",
        upstream_id="m",
        name="M",
        provider="p",
        description="",
        input_modalities=("text",),
        output_modalities=(kind,),
        context_length=None,
        pricing=pricing or {},
        parameters={"type": "object", "properties": properties},
        route="",
        details=ModelDetails(price=price, outputs=Outputs(default=2)),
    )


def dollars(least: float, most: float, basis: CostBasis = CostBasis.PRICES) -> CostEstimate:
    return CostEstimate(round(least * NANO), round(most * NANO), basis)


VIDEO = model(
    "video",
    pricing={"duration_seconds_480p": "0.05", "duration_seconds_1080p": "0.14"},
    resolution=RESOLUTION,
    duration=DURATION,
)
SOUND = model(
    "video",
    pricing={"duration_seconds_with_audio": "0.40", "duration_seconds_without_audio": "0.20"},
    duration=DURATION,
    generate_audio={"type": "boolean", "default": True},
)
CENTS = model(
    "video", pricing={"cents_per_second_output": "3.2"}, duration={"type": "integer", "minimum": 1, "maximum": 60}
)
IMAGE = model("image", pricing={"image_output": "0.04"}, n={"type": "integer", "default": 1})
FORMULA = model(
    "image", price="0.05 * n * (2 if quality == 'high' else 1)", n={"default": 1}, quality={"default": "low"}
)


def test_the_price_follows_the_settings() -> None:
    cases: list[tuple[str, Model, dict[str, Any], CostEstimate | None]] = [
        ("formula with defaults", FORMULA, {}, dollars(0.05, 0.05, CostBasis.FORMULA)),
        ("formula", FORMULA, {"n": 3, "quality": "high"}, dollars(0.3, 0.3, CostBasis.FORMULA)),
        ("formula of outputs", model("image", price="0.05 * n"), {}, dollars(0.1, 0.1, CostBasis.FORMULA)),
        ("broken formula", model("image", price="1 / 0"), {}, None),
        ("formula without a default", model("video", price="0.1 * duration", duration=DURATION), {}, None),
        ("one resolution", VIDEO, {"resolution": "1080p", "duration": 4}, dollars(0.56, 0.56)),
        ("any resolution", VIDEO, {"duration": 4}, dollars(0.2, 0.56)),
        ("any resolution and duration", VIDEO, {}, dollars(0.2, 1.12)),
        ("with sound", SOUND, {"duration": 8}, dollars(3.2, 3.2)),
        ("without sound", SOUND, {"duration": 8, "generate_audio": False}, dollars(1.6, 1.6)),
        ("in cents", CENTS, {"duration": 10}, dollars(0.32, 0.32)),
        ("without bounds", model("video", pricing={"duration_seconds": "0.04"}), {}, None),
        ("images", IMAGE, {"n": 4}, dollars(0.16, 0.16)),
        ("images of a quality without a price", IMAGE, {"n": 4, "quality": "high"}, None),
        ("priced per token", model("image", pricing={"image_output": "0.00003"}), {}, None),
        ("text", model("text", pricing={"prompt": "0.000001"}), {}, None),
        ("free", model("text", pricing={"prompt": "0", "completion": "0"}), {}, dollars(0, 0)),
        ("no prices", model("image"), {}, None),
    ]
    with Cases() as each:
        for name, of, params, expected in cases:
            with each.case(name):
                assert estimate(of, params) == expected
