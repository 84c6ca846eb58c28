"""The simulated models. Ids, capabilities and prices resemble those of late 2026 but are not real offers."""

from app.providers.simulator.openai_format.models import Descriptor, ImageAbility, SimulatedModel, VideoAbility


def one_of(*values: str) -> Descriptor:
    return {"type": "enum", "values": list(values)}


def int_range(minimum: int, maximum: int) -> Descriptor:
    return {"type": "range", "min": minimum, "max": maximum}


FLAG: Descriptor = {"type": "boolean"}
"""The parameter is supported; it need not be a boolean (the real API describes `seed` this way, too)."""

SAMPLING = ["max_tokens", "temperature", "top_p", "stop", "seed", "frequency_penalty", "presence_penalty"]
TOOLS = ["tools", "tool_choice", "response_format", "structured_outputs"]
REASONING = ["reasoning", "include_reasoning"]
ASPECT_RATIOS = ("1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9")

TEXT_MODELS = [
    SimulatedModel(
        id="anthropic/claude-sonnet-5",
        name="Anthropic: Claude Sonnet 5",
        created=1778803200,
        description="A careful all-rounder for writing, analysis and long agentic work, with image input.",
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
        parameters=[*SAMPLING, *TOOLS, *REASONING],
        moderated=True,
    ),
    SimulatedModel(
        id="openai/gpt-5.5",
        name="OpenAI: GPT-5.5",
        created=1776988800,
        description="A frontier model for hard questions: reasoning, code and image input.",
        inputs=["text", "image", "file"],
        outputs=["text"],
        routes=("chat",),
        context_length=400_000,
        max_completion_tokens=128_000,
        tokenizer="GPT",
        pricing={"prompt": "0.0000025", "completion": "0.00002", "input_cache_read": "0.00000025"},
        parameters=["max_tokens", "seed", *TOOLS, *REASONING],
        moderated=True,
    ),
    SimulatedModel(
        id="google/gemini-3.5-flash",
        name="Google: Gemini 3.5 Flash",
        created=1779235200,
        description="Fast and inexpensive, with a very long context and input of every kind.",
        inputs=["text", "image", "file", "audio", "video"],
        outputs=["text"],
        routes=("chat",),
        context_length=1_048_576,
        max_completion_tokens=65_536,
        tokenizer="Gemini",
        pricing={"prompt": "0.0000003", "completion": "0.0000025", "image": "0.0000003", "audio": "0.000001"},
        parameters=[*SAMPLING, *TOOLS, *REASONING],
    ),
    SimulatedModel(
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
        parameters=[*SAMPLING, "top_k", "min_p", "repetition_penalty", *TOOLS, *REASONING],
    ),
    SimulatedModel(
        id="mistralai/mistral-small-4",
        name="Mistral: Mistral Small 4",
        created=1768953600,
        description="A small multilingual model for everyday writing that also accepts images.",
        inputs=["text", "image"],
        outputs=["text"],
        routes=("chat",),
        context_length=131_072,
        tokenizer="Mistral",
        pricing={"prompt": "0.0000001", "completion": "0.0000003"},
        parameters=[*SAMPLING, "top_k", *TOOLS],
    ),
    SimulatedModel(
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

CHAT_IMAGE_MODELS = [
    SimulatedModel(
        id="google/gemini-3-pro-image",
        name="Google: Gemini 3 Pro Image",
        created=1763596800,
        description="Generates and edits images in conversation, with text and images in one answer.",
        inputs=["text", "image"],
        outputs=["image", "text"],
        routes=("chat",),
        context_length=65_536,
        max_completion_tokens=32_768,
        tokenizer="Gemini",
        pricing={"prompt": "0.000002", "completion": "0.000012", "image_output": "0.00012"},
        parameters=["max_tokens", "temperature", "top_p", "seed", "response_format"],
    ),
    SimulatedModel(
        id="openai/gpt-5-image-mini",
        name="OpenAI: GPT-5 Image Mini",
        created=1760624583,
        description="A small conversational model that also generates images.",
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
    SimulatedModel(
        id="black-forest-labs/flux.2-pro",
        name="Black Forest Labs: FLUX.2 Pro",
        created=1764028800,
        description="Images only, sharp and faithful to the prompt; accepts reference images.",
        inputs=["text", "image"],
        outputs=["image"],
        routes=("chat",),
        context_length=46_864,
        pricing={"prompt": "0", "completion": "0", "image_output": "0.00000366"},
        parameters=["seed"],
    ),
]

IMAGE_MODELS = [
    SimulatedModel(
        id="openai/gpt-image-2",
        name="OpenAI: GPT Image 2",
        created=1776816000,
        description="Follows long instructions closely, renders legible text, and supports transparent backgrounds.",
        inputs=["text", "image"],
        outputs=["image"],
        routes=("images",),
        pricing={"prompt": "0.000005", "completion": "0", "image_output": "0.00003"},
        moderated=True,
        image=ImageAbility(
            parameters={
                "n": int_range(1, 10),
                "size": one_of("1024x1024", "1536x1024", "1024x1536"),
                "quality": one_of("auto", "low", "medium", "high"),
                "background": one_of("auto", "transparent", "opaque"),
                "output_format": one_of("png", "jpeg", "webp"),
                "output_compression": int_range(0, 100),
                "input_references": int_range(0, 16),
            },
            price_per_image=0.042,
            streams=True,
        ),
    ),
    SimulatedModel(
        id="bytedance-seed/seedream-5",
        name="ByteDance Seed: Seedream 5",
        created=1772582400,
        description="Posters and photographs up to 4K, from text or several reference images.",
        inputs=["text", "image"],
        outputs=["image"],
        routes=("images",),
        pricing={"prompt": "0", "completion": "0", "image_output": "0.0000073"},
        image=ImageAbility(
            parameters={
                "n": int_range(1, 4),
                "aspect_ratio": one_of(*ASPECT_RATIOS),
                "resolution": one_of("1K", "2K", "4K"),
                "seed": FLAG,
                "input_references": int_range(0, 10),
            },
            price_per_image=0.03,
        ),
    ),
    SimulatedModel(
        id="recraft/recraft-v4",
        name="Recraft: Recraft V4",
        created=1770854400,
        description="Design work with clean shapes and lettering. One image at a time.",
        inputs=["text"],
        outputs=["image"],
        routes=("images",),
        pricing={"prompt": "0", "completion": "0", "image_output": "0.00000976"},
        image=ImageAbility(
            parameters={
                "n": int_range(1, 1),
                "aspect_ratio": one_of(*ASPECT_RATIOS, "auto"),
                "output_format": one_of("png", "webp"),
            },
            price_per_image=0.04,
            returns_media_type=False,
        ),
    ),
]

VIDEO_MODELS = [
    SimulatedModel(
        id="google/veo-3.1",
        name="Google: Veo 3.1",
        created=1760486400,
        description="Videos with audio, from text, a first and last frame, or reference images.",
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
            default_duration=4,
        ),
    ),
    SimulatedModel(
        id="kwaivgi/kling-v3.0-pro",
        name="Kling: Video v3.0 Pro",
        created=1770249600,
        description="Smooth camera work in many aspect ratios and durations, priced by resolution.",
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
    SimulatedModel(
        id="minimax/hailuo-2.3-fast",
        name="MiniMax: Hailuo 2.3 Fast",
        created=1761696000,
        description="Animates an image. Requires a first frame; the prompt is optional.",
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
            default_duration=6,
        ),
    ),
    SimulatedModel(
        id="alibaba/wan-2.6",
        name="Alibaba: Wan 2.6",
        created=1765843200,
        description="An open model with few settings.",
        inputs=["text"],
        outputs=["video"],
        routes=("videos",),
        video=VideoAbility(skus={"duration_seconds": "0.04"}, default_duration=3),
    ),
]

EMBEDDING_MODELS = [
    SimulatedModel(
        id="openai/text-embedding-3-small",
        name="OpenAI: Text Embedding 3 Small",
        created=1706140800,
        description="Vectors for search and clustering.",
        inputs=["text"],
        outputs=["embeddings"],
        routes=("embeddings",),
        context_length=8_192,
        pricing={"prompt": "0.00000002", "completion": "0"},
        dimensions=1536,
    ),
    SimulatedModel(
        id="google/gemini-embedding-2",
        name="Google: Gemini Embedding 2",
        created=1773100800,
        description="Larger vectors for many languages.",
        inputs=["text"],
        outputs=["embeddings"],
        routes=("embeddings",),
        context_length=8_192,
        pricing={"prompt": "0.00000015", "completion": "0"},
        dimensions=3072,
    ),
]

AUDIO_MODELS = [
    SimulatedModel(
        id="openai/gpt-4o-mini-tts",
        name="OpenAI: GPT-4o mini TTS",
        created=1742428800,
        description="Reads a text aloud. Priced per character.",
        inputs=["text"],
        outputs=["speech"],
        routes=("speech",),
        pricing={"prompt": "0.000012", "completion": "0"},
        voices=["alloy", "ash", "coral", "echo", "fable", "nova", "onyx", "sage", "shimmer"],
    ),
    SimulatedModel(
        id="openai/whisper-large-v3",
        name="OpenAI: Whisper Large V3",
        created=1699228800,
        description="Writes down what is spoken. Priced per second.",
        inputs=["audio"],
        outputs=["transcription"],
        routes=("transcription",),
        pricing={"prompt": "0.00003", "completion": "0"},
    ),
]

MODERATION_MODEL = SimulatedModel(
    id="omni-moderation-latest",
    name="OpenAI: Omni Moderation",
    created=1727308800,
    description="Classifies text. Free of charge. Not in the catalogue, as OpenRouter has no such models.",
    inputs=["text"],
    outputs=["moderation"],
    routes=("moderation",),
)

MODELS: dict[str, SimulatedModel] = {
    row.id: row
    for row in [*TEXT_MODELS, *CHAT_IMAGE_MODELS, *IMAGE_MODELS, *VIDEO_MODELS, *EMBEDDING_MODELS, *AUDIO_MODELS]
}
