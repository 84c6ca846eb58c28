"""The models on offer, as data. Ids, abilities and prices look like those of late 2026 and are nobody's price list."""

from typing import Any, Literal

import msgspec

Route = Literal["chat", "images", "videos"]
Descriptor = dict[str, Any]


class ImageAbility(msgspec.Struct, frozen=True, kw_only=True):
    """What the dedicated image endpoint takes for a model, and what one picture costs in US dollars at 1K."""

    parameters: dict[str, Descriptor]
    per_picture: float
    streams: bool = False
    names_media_type: bool = True


class VideoAbility(msgspec.Struct, frozen=True, kw_only=True):
    """What the video endpoint takes for a model. None is the service's own word for "not constrained or not known"."""

    resolutions: list[str] | None = None
    aspect_ratios: list[str] | None = None
    sizes: list[str] | None = None
    durations: list[int] | None = None
    frame_images: list[str] | None = None
    references: bool = False
    audio: bool | None = None
    seed: bool | None = None
    skus: dict[str, str] = {}
    needs_frame: bool = False
    usual_duration: int = 5


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """One row. `pricing` is in US dollars per unit, as decimal text."""

    id: str
    name: str
    created: int
    description: str
    inputs: list[str]
    outputs: list[str]
    routes: tuple[Route, ...]
    context_length: int | None = None
    max_completion_tokens: int | None = None
    tokenizer: str = "Other"
    pricing: dict[str, str] = {}
    parameters: list[str] = []
    moderated: bool = False
    image: ImageAbility | None = None
    video: VideoAbility | None = None


def choice(*values: str) -> Descriptor:
    return {"type": "enum", "values": list(values)}


def span(lowest: int, highest: int) -> Descriptor:
    return {"type": "range", "min": lowest, "max": highest}


FLAG: Descriptor = {"type": "boolean"}
"""Says that the parameter may be sent, not that its value is true or false: a seed is described by it, too."""

SAMPLING = ["max_tokens", "temperature", "top_p", "stop", "seed", "frequency_penalty", "presence_penalty"]
TOOLS = ["tools", "tool_choice", "response_format", "structured_outputs"]
THINKING = ["reasoning", "include_reasoning"]
SHAPES = ("1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9")

WRITERS = [
    Model(
        id="anthropic/claude-sonnet-5",
        name="Anthropic: Claude Sonnet 5",
        created=1778803200,
        description="A careful all-rounder for writing, analysis and long agentic work, with pictures as input.",
        inputs=["text", "image", "file"],
        outputs=["text"],
        routes=("chat",),
        context_length=1_000_000,
        max_completion_tokens=128_000,
        tokenizer="Claude",
        pricing={
            "prompt": "0.000003",
            "completion": "0.000015",
            "input_cache_read": "0.0000003",
            "input_cache_write": "0.00000375",
        },
        parameters=[*SAMPLING, *TOOLS, *THINKING],
        moderated=True,
    ),
    Model(
        id="openai/gpt-5.5",
        name="OpenAI: GPT-5.5",
        created=1776988800,
        description="A frontier model for hard questions: reasoning, code and pictures as input.",
        inputs=["text", "image", "file"],
        outputs=["text"],
        routes=("chat",),
        context_length=400_000,
        max_completion_tokens=128_000,
        tokenizer="GPT",
        pricing={"prompt": "0.0000025", "completion": "0.00002", "input_cache_read": "0.00000025"},
        parameters=["max_tokens", "seed", *TOOLS, *THINKING],
        moderated=True,
    ),
    Model(
        id="google/gemini-3.5-flash",
        name="Google: Gemini 3.5 Flash",
        created=1779235200,
        description="Fast and inexpensive, with a very long context and every kind of input.",
        inputs=["text", "image", "file", "audio", "video"],
        outputs=["text"],
        routes=("chat",),
        context_length=1_048_576,
        max_completion_tokens=65_536,
        tokenizer="Gemini",
        pricing={"prompt": "0.0000003", "completion": "0.0000025", "image": "0.0000003", "audio": "0.000001"},
        parameters=[*SAMPLING, *TOOLS, *THINKING],
    ),
    Model(
        id="deepseek/deepseek-v4",
        name="DeepSeek: DeepSeek V4",
        created=1772409600,
        description="An open-weight mixture of experts that is strong at mathematics and code.",
        inputs=["text"],
        outputs=["text"],
        routes=("chat",),
        context_length=163_840,
        max_completion_tokens=65_536,
        tokenizer="DeepSeek",
        pricing={"prompt": "0.00000027", "completion": "0.0000004"},
        parameters=[*SAMPLING, "top_k", "min_p", "repetition_penalty", *TOOLS, *THINKING],
    ),
    Model(
        id="mistralai/mistral-small-4",
        name="Mistral: Mistral Small 4",
        created=1768953600,
        description="A small multilingual model for everyday writing that also reads pictures.",
        inputs=["text", "image"],
        outputs=["text"],
        routes=("chat",),
        context_length=131_072,
        tokenizer="Mistral",
        pricing={"prompt": "0.0000001", "completion": "0.0000003"},
        parameters=[*SAMPLING, "top_k", *TOOLS],
    ),
    Model(
        id="meta-llama/llama-3.3-70b-instruct:free",
        name="Meta: Llama 3.3 70B Instruct (free)",
        created=1733506137,
        description="A well-known open model, free of charge and limited to a few requests a minute.",
        inputs=["text"],
        outputs=["text"],
        routes=("chat",),
        context_length=8_192,
        max_completion_tokens=2_048,
        tokenizer="Llama3",
        pricing={"prompt": "0", "completion": "0"},
        parameters=[*SAMPLING, "top_k", "repetition_penalty"],
    ),
]

CHAT_PAINTERS = [
    Model(
        id="google/gemini-3-pro-image",
        name="Google: Gemini 3 Pro Image",
        created=1763596800,
        description="Draws and edits in conversation: answers with words and pictures together.",
        inputs=["text", "image"],
        outputs=["image", "text"],
        routes=("chat",),
        context_length=65_536,
        max_completion_tokens=32_768,
        tokenizer="Gemini",
        pricing={"prompt": "0.000002", "completion": "0.000012", "image_output": "0.00012"},
        parameters=["max_tokens", "temperature", "top_p", "seed", "response_format"],
    ),
    Model(
        id="openai/gpt-5-image-mini",
        name="OpenAI: GPT-5 Image Mini",
        created=1760624583,
        description="A small conversational model that also draws.",
        inputs=["text", "image", "file"],
        outputs=["image", "text"],
        routes=("chat",),
        context_length=400_000,
        max_completion_tokens=128_000,
        tokenizer="GPT",
        pricing={"prompt": "0.0000025", "completion": "0.000002", "image_output": "0.000008"},
        parameters=["max_tokens", "temperature", "top_p", "seed", "response_format"],
        moderated=True,
    ),
    Model(
        id="black-forest-labs/flux.2-pro",
        name="Black Forest Labs: FLUX.2 Pro",
        created=1764028800,
        description="Pictures only, sharp and faithful to the prompt; takes reference pictures.",
        inputs=["text", "image"],
        outputs=["image"],
        routes=("chat",),
        context_length=46_864,
        pricing={"prompt": "0", "completion": "0", "image_output": "0.00000366"},
        parameters=["seed"],
    ),
]

PAINTERS = [
    Model(
        id="openai/gpt-image-2",
        name="OpenAI: GPT Image 2",
        created=1776816000,
        description="Follows long instructions closely, writes legibly in pictures, and can leave the background out.",
        inputs=["text", "image"],
        outputs=["image"],
        routes=("images",),
        pricing={"prompt": "0.000005", "completion": "0", "image_output": "0.00003"},
        moderated=True,
        image=ImageAbility(
            parameters={
                "n": span(1, 10),
                "size": choice("1024x1024", "1536x1024", "1024x1536"),
                "quality": choice("auto", "low", "medium", "high"),
                "background": choice("auto", "transparent", "opaque"),
                "output_format": choice("png", "jpeg", "webp"),
                "output_compression": span(0, 100),
                "input_references": span(0, 16),
            },
            per_picture=0.042,
            streams=True,
        ),
    ),
    Model(
        id="bytedance-seed/seedream-5",
        name="ByteDance Seed: Seedream 5",
        created=1772582400,
        description="Posters and photographs up to 4K, from words or from several reference pictures.",
        inputs=["text", "image"],
        outputs=["image"],
        routes=("images",),
        pricing={"prompt": "0", "completion": "0", "image_output": "0.0000073"},
        image=ImageAbility(
            parameters={
                "n": span(1, 4),
                "aspect_ratio": choice(*SHAPES),
                "resolution": choice("1K", "2K", "4K"),
                "seed": FLAG,
                "input_references": span(0, 10),
            },
            per_picture=0.03,
        ),
    ),
    Model(
        id="recraft/recraft-v4",
        name="Recraft: Recraft V4",
        created=1770854400,
        description="Design work with clean shapes and lettering. One picture at a time.",
        inputs=["text"],
        outputs=["image"],
        routes=("images",),
        pricing={"prompt": "0", "completion": "0", "image_output": "0.00000976"},
        image=ImageAbility(
            parameters={
                "n": span(1, 1),
                "aspect_ratio": choice(*SHAPES, "auto"),
                "output_format": choice("png", "webp"),
            },
            per_picture=0.04,
            names_media_type=False,
        ),
    ),
]

FILMMAKERS = [
    Model(
        id="google/veo-3.1",
        name="Google: Veo 3.1",
        created=1760486400,
        description="Clips with sound, from words, from a first and last frame, or from reference pictures.",
        inputs=["text", "image"],
        outputs=["video"],
        routes=("videos",),
        video=VideoAbility(
            resolutions=["720p", "1080p"],
            aspect_ratios=["16:9", "9:16"],
            sizes=["1280x720", "720x1280", "1920x1080", "1080x1920"],
            durations=[4, 6, 8],
            frame_images=["first_frame", "last_frame"],
            references=True,
            audio=True,
            seed=True,
            skus={"duration_seconds_with_audio": "0.40", "duration_seconds_without_audio": "0.20"},
            usual_duration=4,
        ),
    ),
    Model(
        id="kwaivgi/kling-v3.0-pro",
        name="Kling: Video v3.0 Pro",
        created=1770249600,
        description="Smooth camera work in many shapes and lengths, priced by resolution.",
        inputs=["text", "image"],
        outputs=["video"],
        routes=("videos",),
        video=VideoAbility(
            resolutions=["480p", "720p", "1080p"],
            aspect_ratios=["16:9", "9:16", "1:1", "4:3", "3:4", "21:9"],
            durations=[2, 3, 5, 10],
            frame_images=["first_frame", "last_frame"],
            audio=False,
            seed=True,
            skus={
                "duration_seconds_480p": "0.05",
                "duration_seconds_720p": "0.09",
                "duration_seconds_1080p": "0.14",
            },
        ),
    ),
    Model(
        id="minimax/hailuo-2.3-fast",
        name="MiniMax: Hailuo 2.3 Fast",
        created=1761696000,
        description="Brings a picture to life. Needs a first frame; words are optional.",
        inputs=["image"],
        outputs=["video"],
        routes=("videos",),
        video=VideoAbility(
            resolutions=["768p", "1080p"],
            durations=[6, 10],
            frame_images=["first_frame"],
            audio=False,
            seed=False,
            skus={"cents_per_second_output": "3.2"},
            needs_frame=True,
            usual_duration=6,
        ),
    ),
    Model(
        id="alibaba/wan-2.6",
        name="Alibaba: Wan 2.6",
        created=1765843200,
        description="An open model with few settings: say what you want to see.",
        inputs=["text"],
        outputs=["video"],
        routes=("videos",),
        video=VideoAbility(skus={"duration_seconds": "0.04"}, usual_duration=3),
    ),
]

MODELS: dict[str, Model] = {row.id: row for row in [*WRITERS, *CHAT_PAINTERS, *PAINTERS, *FILMMAKERS]}
