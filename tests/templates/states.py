"""Every template with the states it can be in: contexts built from the real structs, for the template tests and for screenshots.

`STATES[template][state]` is a complete context, the globals of a page included. `static` replaces the global that the
program adds to the environment (there it appends a content hash). The clock is fixed at `NOW`.
"""

import functools
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import jinja2
import msgspec
from markupsafe import Markup

from app.accounts.schemas import ApiKey, NewApiKey, Role, Session, SessionKind, User
from app.admin.schemas import DatabaseHealth, DeletionPreview, Disk, OwnedJob, Stats
from app.audit.schemas import Action, Entry
from app.background import TaskHealth
from app.base.clock import now
from app.base.errors import Invalid
from app.batches.comparison import columns
from app.batches.grid import grid_of
from app.batches.schemas import Axis, Batch, Place
from app.catalog import descriptions
from app.catalog.described_models import description_of
from app.catalog.pages import Offered
from app.catalog.schemas import (
    Changes,
    CostBasis,
    CostEstimate,
    DescribedModel,
    DescriptionProblem,
    Field,
    Model,
    ModelSource,
    Price,
)
from app.chat.page_context import RejectedForm
from app.chat.schemas import AnswerError, Conversation, Message, ShownMessage, Thread
from app.chat.schemas import MessageRole as Speaker
from app.chat.schemas import MessageStatus as AnswerStatus
from app.editor.schemas import EditorForm, Results
from app.generation.pages import OWN_FIELDS
from app.home.examples import build_examples
from app.jobs.schemas import (
    CancelStage,
    EventType,
    GenerationType,
    Job,
    JobError,
    JobEvent,
    JobInput,
    JobInputRole,
    JobStatus,
    JobWarning,
    QueueEstimate,
    QueuePosition,
)
from app.ledger.schemas import Month
from app.library.schemas import Asset, AssetKind, Origin
from app.model_editor.draft import CONTROLS, input_rows, messages, parameter_rows
from app.model_editor.draft import values as draft_values
from app.model_editor.pages import Target
from app.model_editor.schemas import EditedModel
from app.prompts.pages import FIELDS as PROMPT_FIELDS
from app.prompts.schemas import Prompt, PromptKind
from app.provider_accounts.schemas import ConnectionTest, ProviderAccount, Source
from app.providers.contract import ErrorCode, InputRole, InputSlot, Kind, Usage
from app.providers.registry import ProviderKind
from app.web.render import environment as real_environment

NANO = 1_000_000_000
NOW = now()
LONG = "An endless corridor of mirrors, each one holding another weather. " * 1600
UNBROKEN = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft" * 6
HOSTILE = "\"><script>alert(1)</script> {{ 7 * 7 }} ' & </textarea><img src=x onerror=alert(2)>"


def _provider(name: str, **more: Any) -> ProviderAccount:
    values: dict[str, Any] = {
        "kind": ProviderKind.OPENROUTER,
        "base_url": f"https://{name}.example/api/v1",
        "source": Source.STORED,
        "key_hint": "…f3a9",
        "enabled": True,
        "in_use": True,
        "priority": 1,
    }
    return ProviderAccount(name=name, **{**values, **more})


PROVIDERS = [
    _provider(
        "openrouter", source=Source.ENVIRONMENT, priority=0, models=341, models_enabled=16, spent_nano=118 * NANO
    ),
    _provider("router", tested=ConnectionTest(NOW, True, 310)),
    _provider("broken", tested=ConnectionTest(NOW, False, 24, HOSTILE), base_url="http://10.0.0.4:8000/" + "x" * 400),
    _provider("off", enabled=False, in_use=False, key_hint=""),
    _provider("unreadable", in_use=False, problem="The key cannot be read."),
    _provider("unused", in_use=False),
]
PROVIDER_FORM: dict[str, Any] = {
    "account": None,
    "values": {"name": "", "kind": "", "base_url": "", "priority": ""},
    "kinds": [("openrouter", "OpenRouter", "https://openrouter.ai/api/v1")],
    "errors": {},
    "message": None,
}


def static(path: str) -> str:
    """Replaces the app's global of this name."""
    return f"/static/{path}"


def cards(jobs: Sequence[Job], csrf_token: str) -> Markup:
    """Replaces the app's global of this name."""
    card = environment().get_template("jobs/_card.html")
    return Markup("\n".join(card.render(job=job, csrf_token=csrf_token) for job in jobs))  # noqa: S704


def card_version(job: Job) -> str:
    """Replaces the app's global of this name, which changes while time passes."""
    return f"version of {job.id}"


@functools.cache
def environment() -> jinja2.Environment:
    jinja = real_environment(clock=lambda: NOW)
    jinja.globals["static"] = static
    jinja.globals["cards"] = cards
    jinja.globals["card_version"] = card_version
    return jinja


class Record:
    """An object with attributes, as the pages of events and of the API take them."""

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)


ADMIN = User(
    id="u-1", email="ann.keller@studio.example", name="Ann Keller", role=Role.ADMIN, is_active=True, created_at=NOW
)
ORDINARY_USER = User(
    id="u-2",
    email="a.very.long.address.of.a.user@department.studio.example",
    name="",
    role=Role.USER,
    is_active=True,
    created_at=NOW,
)


def page(**values: Any) -> dict[str, Any]:
    """The globals of every page, and what the page itself needs."""
    return {
        "current_user": ADMIN,
        "simulated": True,
        "path": "/",
        "theme": "",
        "notice": None,
        "csrf_token": "token'\"<&",
        "request_id": "01HZX3K9",
        **values,
    }


SIZES = [(1536, 1024), (1024, 1024), (1920, 1080), (1024, 1536), (2048, 858), (1080, 1920), (1280, 960)]


def image(number: int, **values: Any) -> Asset:
    width, height = SIZES[number % len(SIZES)]
    return Asset(
        **{
            "id": f"image-{number}",
            "owner_id": "u-1",
            "kind": AssetKind.IMAGE,
            "origin": Origin.GENERATED,
            "mime": "image/png",
            "bytes": 1_480_000,
            "width": width,
            "height": height,
            "key": f"k{number}",
            "thumbnail_key": f"t{number}",
            "job_id": f"job-{number}",
            "created_at": NOW - timedelta(hours=5 * number),
            **values,
        }
    )


def video(number: int, **values: Any) -> Asset:
    return Asset(
        **{
            "id": f"video-{number}",
            "owner_id": "u-1",
            "kind": AssetKind.VIDEO,
            "origin": Origin.GENERATED,
            "mime": "video/mp4",
            "bytes": 6_200_000,
            "width": 1280 if number % 3 else 720,
            "height": 720 if number % 3 else 1280,
            "duration": 5.0 + number % 4,
            "key": f"k{number}",
            "thumbnail_key": f"t{number}",
            "job_id": f"job-{number}",
            "created_at": NOW - timedelta(hours=4 * number),
            **values,
        }
    )


def job(name: str, prompt: str, kind: Kind = Kind.IMAGE, minutes: float = 12, **values: Any) -> Job:
    model, model_name = {
        Kind.TEXT: ("anthropic/claude-sonnet-4.5", "Claude Sonnet 4.5"),
        Kind.IMAGE: ("black-forest-labs/flux.2", "FLUX.2"),
        Kind.VIDEO: ("google/veo-3.1", "Veo 3.1"),
    }[kind]
    created = NOW - timedelta(minutes=minutes)
    defaults: dict[str, Any] = {
        "id": name,
        "owner_id": "u-1",
        "kind": kind,
        "generation_type": {
            Kind.TEXT: GenerationType.TEXT_TO_TEXT,
            Kind.IMAGE: GenerationType.TEXT_TO_IMAGE,
            Kind.VIDEO: GenerationType.TEXT_TO_VIDEO,
        }[kind],
        "provider": "openrouter",
        "model": model,
        "model_name": model_name,
        "prompt": prompt,
        "created_at": created,
    }
    status = values.get("status", JobStatus.QUEUED)
    if status != JobStatus.QUEUED:
        defaults["started_at"] = created + timedelta(seconds=1)
    if status in (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED):
        defaults["ended_at"] = created + timedelta(seconds=72)
    return Job(**{**defaults, **values})


TEXT = """Five shots, from far to near:

1. Wide: fog lifts off the harbour, boats as silhouettes.
2. Medium: a keeper coils rope, breath visible.
3. Close: wet hands, a knot pulled tight.
4. Insert: a paper boat in the gutter, neon in the water.
5. Wide: the first engine starts, gulls rise.

Cut on the gulls. <b>Not bold</b>, and {{ not a template }}."""

QUEUED = job("queued", "Portrait of a lighthouse keeper, window light, 85 mm", minutes=0.1)
WAITING = job(
    "waiting",
    "Portrait of a lighthouse keeper, window light, 35 mm",
    minutes=3,
    estimate=QueueEstimate(QueuePosition(7, 2, 5), NOW + timedelta(seconds=130), 40.0, 61.0),
)
WAITING_FIRST = job(
    "waiting-first", "A lamp", minutes=4, estimate=QueueEstimate(QueuePosition(1, 1, 2), NOW + timedelta(seconds=9))
)
WAITING_LAST = job("waiting-last", "A buoy", minutes=2, estimate=QueueEstimate(QueuePosition(9, 5, 5)))
WAITING_ALONE = job("waiting-alone", "A rope", minutes=2, estimate=QueueEstimate(QueuePosition(4, 1, 1)))
PAUSED_JOB = job("paused", "A rudder", minutes=9, paused=True)
PROCESSING = job(
    "processing",
    "The same boat, seen from below the waterline, light breaking through",
    Kind.VIDEO,
    0.6,
    status=JobStatus.PROCESSING,
    progress=48,
    upstream_state="in_progress",
    params={"aspect_ratio": "16:9", "resolution": "1080p", "duration": 8},
)
PREVIEWED = job("previewed", "Foggy harbour at noon", minutes=0.3, status=JobStatus.PROCESSING, preview=1)
UNMEASURED = job("unmeasured", "Foggy harbour at dawn", minutes=0.2, status=JobStatus.PROCESSING)
WRITING = job("writing", "Five shots for the harbour scene", Kind.TEXT, 0.1, status=JobStatus.PROCESSING)
CANCELLING = job(
    "cancelling",
    "A carousel in the snow",
    Kind.VIDEO,
    3,
    status=JobStatus.PROCESSING,
    progress=70,
    cancel_requested=True,
)
RETRYING = job(
    "retrying", "A tram crossing a flooded square", minutes=2, attempts=1, run_at=NOW + timedelta(seconds=20)
)
VIDEO = job(
    "video",
    "Desert highway at golden hour, dust hanging in the air, wide lens",
    Kind.VIDEO,
    status=JobStatus.COMPLETED,
    cost_nano=3_200_000_000,
    assets=(video(1),),
    params={"aspect_ratio": "16:9", "resolution": "1080p", "duration": 8, "generate_audio": True},
)
IMAGE = job(
    "image",
    "Foggy harbour, fishing boats, cold morning light",
    minutes=18,
    status=JobStatus.COMPLETED,
    cost_nano=40_000_000,
    assets=(image(2),),
    params={"aspect_ratio": "16:9", "seed": 4711},
)
FOUR = job(
    "four",
    "Moss-covered stones in a mountain stream, macro, shallow focus",
    minutes=44,
    status=JobStatus.COMPLETED,
    cost_nano=132_000_000,
    assets=tuple(image(n) for n in (3, 4, 5, 6)),
    params={"n": 4},
)
PARTIAL = job(
    "partial",
    "A paper boat in three colours",
    minutes=46,
    status=JobStatus.COMPLETED,
    assets=(image(13),),
    warnings=(
        JobWarning(None, "FRAMES_DROPPED", "Only the first frame of this animation was kept."),
        JobWarning(0, "PROVIDER_REFUSED", "The provider refused this content. Change the prompt and try again."),
        JobWarning(2, "RESULT_INVALID", HOSTILE),
    ),
)
SIX = job("six", "A chess set of fruit", minutes=90, status=JobStatus.COMPLETED, assets=tuple(map(image, range(7, 13))))
TEXTS = job(
    "text",
    "Give me five shots for the harbour scene, each one sentence",
    Kind.TEXT,
    25,
    status=JobStatus.COMPLETED,
    text=TEXT,
    system_prompt="You are a careful editor. Answer in British English.",
    cost_nano=6_100_000,
    usage=Usage(prompt_tokens=61, completion_tokens=351, total_tokens=412),
)
REFUSED = job(
    "refused",
    "A famous actor walking through a market in Marrakesh",
    Kind.VIDEO,
    31,
    status=JobStatus.FAILED,
    attempts=1,
    cost_nano=0,
    error=JobError(
        ErrorCode.PROVIDER_REFUSED, "The provider's filter refused the prompt; change the prompt and try again."
    ),
)
UNKNOWN = job(
    "unknown",
    "City skyline at night from a rooftop garden, paper lanterns",
    Kind.VIDEO,
    200,
    status=JobStatus.FAILED,
    error=JobError(
        ErrorCode.OUTCOME_UNKNOWN,
        "Atelier stopped while this was being sent, so it may have been made and billed; look at your provider's "
        "activity before you retry.",
    ),
)
BARE_FAILURE = job("bare-failure", "A kite", minutes=300, status=JobStatus.FAILED)
CANCELLED = job("cancelled", "Ballet dancer in coloured smoke, slow motion", Kind.VIDEO, 60, status=JobStatus.CANCELLED)
CANCELLED_PAID = job("cancelled-paid", "A glass orchard", minutes=61, status=JobStatus.CANCELLED, cost_nano=700_000_000)
GONE = job("gone", "A deleted image", minutes=5000, status=JobStatus.COMPLETED)
ANIMATED = job(
    "animated",
    "",
    Kind.VIDEO,
    70,
    status=JobStatus.COMPLETED,
    generation_type=GenerationType.IMAGE_TO_VIDEO,
    inputs=(JobInput(JobInputRole.FIRST_FRAME, "image-2"),),
    retry_of="refused",
    cost_nano=700_000_000,
    assets=(video(3),),
)
ENHANCED = msgspec.structs.replace(
    IMAGE, id="enhanced", enhanced_prompt=f"{HOSTILE} {LONG[:600]}", enhanced_by="job-0", cost_nano=40_000_000
)
ENDLESS_JOB = job("endless", LONG, Kind.TEXT, 80, status=JobStatus.COMPLETED, text=LONG)
UNBROKEN_JOB = job(
    "unbroken", UNBROKEN, minutes=81, status=JobStatus.FAILED, error=JobError(ErrorCode.TIMED_OUT, UNBROKEN)
)
HOSTILE_JOB = job("hostile", HOSTILE, Kind.TEXT, 85, status=JobStatus.COMPLETED, text=HOSTILE, model_name=HOSTILE)

CARDS = {
    "queued": QUEUED,
    "waiting": WAITING,
    "waiting first": WAITING_FIRST,
    "waiting last": WAITING_LAST,
    "waiting alone": WAITING_ALONE,
    "paused": PAUSED_JOB,
    "processing": PROCESSING,
    "unmeasured": UNMEASURED,
    "previewed": PREVIEWED,
    "writing": WRITING,
    "cancelling": CANCELLING,
    "retrying": RETRYING,
    "video": VIDEO,
    "image": IMAGE,
    "four images": FOUR,
    "six images": SIX,
    "partial": PARTIAL,
    "text": TEXTS,
    "refused": REFUSED,
    "unknown": UNKNOWN,
    "bare failure": BARE_FAILURE,
    "cancelled": CANCELLED,
    "cancelled and paid": CANCELLED_PAID,
    "gone": GONE,
    "animated": ANIMATED,
    "enhanced": ENHANCED,
    "endless": ENDLESS_JOB,
    "unbroken": UNBROKEN_JOB,
    "hostile": HOSTILE_JOB,
}
JOBS = list(CARDS.values())
FEED = [PROCESSING, QUEUED, VIDEO, IMAGE, REFUSED, FOUR, TEXTS, ANIMATED, CANCELLED, UNKNOWN]


def model(name: str, title: str, outputs: tuple[str, ...], **values: Any) -> Model:
    return Model(
        **{
            "id": name,
            "upstream_id": name,
            "name": title,
            "provider": "openrouter",
            "description": "Cinematic videos with sound, from text or from a first frame.",
            "input_modalities": ("text", "image"),
            "output_modalities": outputs,
            "context_length": None,
            "pricing": {},
            "parameters": {},
            "route": "",
            **values,
        }
    )


MODELS = {
    "text": [
        model("anthropic/claude-sonnet-4.5", "Claude Sonnet 4.5", ("text",), description="Careful prose and code."),
        model("openai/gpt-5", "GPT-5", ("text",)),
    ],
    "image": [
        model("black-forest-labs/flux.2", "FLUX.2", ("image",), description="Sharp images, good at hands and type."),
        model("openai/gpt-5-image", "GPT-5 Image", ("image", "text")),
        model("fal:flux/dev", "FLUX.1 dev", ("image",), provider="fal"),
    ],
    "video": [
        model("google/veo-3.1", "Veo 3.1", ("video",)),
        model("kuaishou/kling-2.6", "Kling 2.6", ("video",)),
        model(
            "very/long", "A model with a name so long that it can hardly fit anywhere, preview 2026-11-20", ("video",)
        ),
    ],
}
FIELDS = {
    "text": [
        Field(
            name="max_tokens",
            title="Max tokens",
            control="number",
            minimum=1,
            maximum=64000,
            step="1",
            help="In tokens.",
        ),
        Field(name="temperature", title="Temperature", control="number", minimum=0, maximum=2, value="1"),
    ],
    "image": [
        Field(name="aspect_ratio", title="Aspect ratio", control="select", options=("1:1", "3:2", "16:9"), value="3:2"),
        Field(name="image_size", title="Size", control="select", options=("1K", "2K", "4K"), value="2K"),
        Field(name="n", title="How many", control="number", minimum=1, maximum=4, step="1", value="1"),
        Field(name="seed", title="Seed", control="number", step="1", help="The same seed gives a similar image."),
        Field(name="style", title="Style", control="textarea", value=HOSTILE, help="In a few words."),
    ],
    "video": [
        Field(name="aspect_ratio", title="Aspect ratio", control="select", options=("16:9", "9:16"), value="16:9"),
        Field(name="resolution", title="Resolution", control="select", options=("720p", "1080p"), value="1080p"),
        Field(name="duration", title="Length", control="select", options=("4", "8"), value="8", unit="s", decides=True),
        Field(name="seed", title="Seed", control="number", step="1", help="The same seed gives a similar video."),
        Field(name="generate_audio", title="Generate audio", control="checkbox", value="true"),
        Field(name="style", title="Style", control="select", options=("natural", "vivid")),
    ],
}
WRONG = [
    Field(
        name="seed", title="Seed", control="number", value="1e99", step="1", help="Whole.", error="Must be an integer."
    ),
    Field(name="style", title="Style", control="select", options=("natural",), value="odd", error="Not available."),
    Field(name="audio", title="Generate audio", control="checkbox", help="Costs more.", error="Not with this model."),
    Field(name="label", title="Label", control="text", value=HOSTILE, error="Too many."),
]
EXAMPLES = {
    "text": [
        "Write five shots for a film about a harbour at dawn.",
        "Explain the difference between a dolly and a truck to a beginner.",
        "Name a small studio that makes paper boats. Ten names.",
    ],
    "image": [
        "Portrait of a lighthouse keeper, window light, 85 mm",
        "Moss-covered stones in a mountain stream, macro, shallow focus",
        "A poster for a night train, flat colours, one word: ABFAHRT",
    ],
    "video": [
        "A paper boat drifts down a rain gutter at night, neon reflections, slow dolly in",
        "Fog lifts off a harbour, boats as silhouettes, locked camera",
        "A kettle comes to the boil, steam in morning light, macro",
    ],
}
DIRECTIVES = [
    ("sim:refuse", "The provider's filter refuses the prompt."),
    ("sim:fail", "The provider fails while it works."),
    ("sim:slow", "It takes a minute."),
]
EMPTY = dict.fromkeys(OWN_FIELDS, "")
NEGATIVE = Field(name="negative_prompt", title="Negative prompt", control="textarea")


def prompt(id: str, **values: Any) -> Prompt:
    defaults: dict[str, Any] = {
        "id": id,
        "owner_id": "u-1",
        "kind": PromptKind.TEMPLATE,
        "name": id,
        "text": "A {red|blue} boat in __weather__, 85 mm",
        "negative_prompt": "",
        "output": None,
        "tags": (),
        "line_count": 0,
        "shared": False,
        "version": 1,
        "created_at": NOW,
        "changed_at": NOW,
        "own": True,
        "may_change": True,
    }
    return Prompt(**{**defaults, **values})


WEATHER = prompt(
    "weather",
    kind=PromptKind.WILDCARDS,
    text="",
    lines=("light rain", HOSTILE, "morning fog"),
    sample=f"light rain\n{HOSTILE}",
    line_count=3,
)
SHARED_TEMPLATE = prompt(
    "shared",
    own=False,
    may_change=False,
    shared=True,
    owner_name=HOSTILE,
    negative_prompt="blurry",
    tags=(HOSTILE, "b"),
)
SHARED_LIST = msgspec.structs.replace(WEATHER, own=False, may_change=False, shared=True, owner_name="Ann")
TEMPLATES = [
    prompt("a", output=Kind.IMAGE, shared=True, tags=("boats",)),
    prompt("b", name=UNBROKEN[:100], text=LONG),
    prompt("c", name=HOSTILE, text=HOSTILE, output=Kind.VIDEO),
    SHARED_TEMPLATE,
]
PROMPT_VALUES = dict.fromkeys(PROMPT_FIELDS, "")


def prompt_list(**values: Any) -> dict[str, Any]:
    return page(
        **{
            "path": "/prompts",
            "prompts": [*TEMPLATES, WEATHER, SHARED_LIST],
            "total": 6,
            "next": None,
            "filters": {"q": "", "kind": "", "visibility": ""},
            "deleted": None,
            "import_error": None,
            **values,
        }
    )


def prompt_form(kind: str, **values: Any) -> dict[str, Any]:
    defaults = {
        "kind": kind,
        "prompt": None,
        "newer": None,
        "values": PROMPT_VALUES,
        "outputs": ["text", "image", "video"],
        "errors": {},
        "message": None,
    }
    return page(**{"path": "/prompts/new", **defaults, **values})


PROMPT_STATES: dict[str, Mapping[str, Mapping[str, Any]]] = {
    "prompts/_prompt.html": {
        it.id + str(it.own): {"prompt": it, "csrf_token": "token"} for it in (*TEMPLATES, WEATHER, SHARED_LIST)
    },
    "prompts/_deleted.html": {"template": {"prompt": TEMPLATES[2], "csrf_token": "token"}},
    "prompts/prompts.html": {
        "some": prompt_list(prompts=[*TEMPLATES, WEATHER], next="c=&"),
        "just deleted": prompt_list(prompts=TEMPLATES, total=4, deleted=WEATHER),
        "none": prompt_list(prompts=[], total=0),
        "none match": prompt_list(prompts=[], total=0, filters={"q": HOSTILE, "kind": "", "visibility": "own"}),
        "bad import": prompt_list(prompts=[], total=0, import_error=HOSTILE),
    },
    "prompts/edit.html": {
        "new template": prompt_form("template"),
        "new list": prompt_form("wildcards"),
        "wrong": prompt_form("template", errors=dict.fromkeys(PROMPT_FIELDS, HOSTILE)),
        "wrong list": prompt_form("wildcards", errors={"name": HOSTILE, "lines": HOSTILE}),
        "old": prompt_form(
            "template",
            prompt=SHARED_TEMPLATE,
            newer=SHARED_TEMPLATE,
            values={**PROMPT_VALUES, "name": HOSTILE, "shared": "true", "output": "image"},
            message=HOSTILE,
        ),
        "old list": prompt_form("wildcards", prompt=WEATHER, newer=WEATHER, message="Changed meanwhile."),
    },
    "prompts/shared.html": {
        "template": page(prompt=SHARED_TEMPLATE, path="/prompts/shared"),
        "list": page(prompt=SHARED_LIST, path="/prompts/weather"),
    },
}


def create(kind: str, mode: str = "text", **values: Any) -> dict[str, Any]:
    return page(
        **{
            "path": f"/generate/{kind}",
            "kind": kind,
            "mode": mode,
            "models": MODELS[kind],
            "favorites": MODELS[kind][-1:],
            "model": MODELS[kind][0],
            "fields": FIELDS[kind],
            "values": EMPTY,
            "errors": {},
            "message": None,
            "jobs": FEED,
            "images": [image(n) for n in range(14)],
            "examples": EXAMPLES[kind],
            "directives": DIRECTIVES,
            "key": "3f1c",
            "price": {"text": None, "image": "about $0.04", "video": "about $3.20"}[kind],
            "instead": None,
            "negative": None,
            "negative_text": "",
            "templates": [],
            "wildcard_names": [],
            "enhancer": None,
            "draft_key": "4a2d",
            "slots": [],
            "chosen_inputs": {role.value: [] for role in JobInputRole},
            "restore_error": None,
            **values,
        }
    )


SLOTS = [
    InputSlot(role=InputRole.IMAGE, max=3),
    InputSlot(role=InputRole.MASK, required=True),
    InputSlot(role=InputRole.FIRST_FRAME),
    InputSlot(role=InputRole.LAST_FRAME),
    InputSlot(role=InputRole.REFERENCE, max=9),
]
BOAT = {**EMPTY, "prompt": EXAMPLES["video"][0]}
FORMS = {
    "text": create("text", values={**EMPTY, "prompt": "Five shots", "system_prompt": "Be brief."}),
    "image": create("image", values={**EMPTY, "prompt": "A harbour"}),
    "with prompts": create(
        "image",
        enhancer=HOSTILE,
        templates=TEMPLATES,
        wildcard_names=[f"list-{n}" for n in range(9)],
        negative=NEGATIVE,
    ),
    "enhanced": create(
        "video",
        enhancer="GPT-5",
        values={**EMPTY, "prompt": LONG, "previous_prompt": HOSTILE, "enhanced_by": "job-1"},
        negative=NEGATIVE,
        negative_text=HOSTILE,
        errors={"negative_prompt": HOSTILE},
    ),
    "video": create("video", values=BOAT),
    "another model": create(
        "image", values=BOAT, instead=f"{UNBROKEN[:100]} is not available here. {HOSTILE} is selected instead."
    ),
    "image to video": create("video", "image", values={**BOAT, "image_asset_id": "image-2"}),
    "inputs in every role": create(
        "image",
        "image",
        slots=SLOTS,
        chosen_inputs={
            **{role.value: [] for role in JobInputRole},
            "mask": ["image-3"],
            "reference": ["gone", "image-1"],
        },
        errors={"file-mask": HOSTILE},
    ),
    "from an image that is not listed": create("video", "image", values={**BOAT, "image_asset_id": "other"}, images=[]),
    "from an address": create("image", "image", values={**BOAT, "image_url": "https://example.org/a.jpg"}),
    "from nothing yet": create("video", "image", images=[]),
    "no settings": create("image", fields=[], price=None),
    "wrong": create(
        "video",
        "image",
        values={**BOAT, "prompt": HOSTILE, "image_url": HOSTILE},
        message="The request is not valid.",
        fields=WRONG,
        errors={
            "prompt": "Describe the video.",
            "image": "This is not an image. Choose a PNG, JPEG or WebP file.",
            "model": "This model is no longer available.",
            "seed": "Must be an integer.",
        },
    ),
    "wrong text": create("text", errors={"system_prompt": "At most 16,000 characters.", "prompt": "Write something."}),
}

SIGN_IN = {"email": "", "name": "", "next": ""}
TYPED = {"email": "ann@studio.example", "name": HOSTILE, "next": "/jobs?status=failed&kind=image"}


def sign(**values: Any) -> dict[str, Any]:
    return {
        "values": SIGN_IN,
        "errors": {},
        "message": None,
        "open": True,
        "csrf_token": "token'\"<&",
        "theme": "",
        **values,
    }


EVENTS = [
    JobEvent(
        at=NOW - timedelta(seconds=72 - number),
        event=event,
        detail={
            "attempt": 2,
            "state": HOSTILE,
            "run_at": "2026-11-20T12:03:00.000Z",
            "code": "PROVIDER_FAILED",
            "message": HOSTILE,
            "stage": [*CancelStage][number % len(CancelStage)],
            "from_provider": HOSTILE,
            "to_provider": HOSTILE,
        },
    )
    for number, event in enumerate(EventType)
]
ASSETS = [it for n in range(18) for it in ((video(n), image(n)) if n % 4 == 1 else (image(n),))]
UPLOADED = image(
    30, origin=Origin.UPLOADED, job_id=None, name="harbour_at_dawn_" + UNBROKEN + ".jpg", thumbnail_key=None
)
BARE_VIDEO = video(31, duration=None, thumbnail_key=None, job_id=None)
MISSING = {
    "status": 404,
    "title": "There is nothing here",
    "message": "This page does not exist, or it is not yours.",
    "request_id": "01HZX3K9W2",
}
BROKEN = {
    "status": 500,
    "title": "Internal error",
    "message": "This is a mistake of the program, and it has been written down.",
    "request_id": "",
}
JOB_BODY = """{
  "model": "google/veo-3.1",
  "prompt": "A paper boat drifts down a rain gutter at night",
  "aspect_ratio": "16:9",
  "duration": 8
}"""
VIDEO_CALL = Record(
    method="post",
    path="/api/v1/generate/video",
    summary="Text to video",
    description="Answers at once with the queued job.\nPoll its status, or look at it in the library.",
    anchor="generate-video",
    parameters=[
        Record(
            name="Idempotency-Key",
            where="header",
            type="string",
            required=False,
            description="Kept for 24 hours; a repeat answers with the first result.",
        )
    ],
    body=JOB_BODY,
    responses=[
        Record(status=202, description="The job, queued."),
        Record(status=400, description="The request cannot be made like this; `details.fields` says why."),
        Record(status=429, description="Too many requests; `Retry-After` says when to come back."),
    ],
)
STATUS_CALL = Record(
    method="get",
    path="/api/v1/generate/video/{id}/status",
    summary="",
    description=None,
    anchor="generate-video-status",
    parameters=[Record(name="id", where="path", type="string", required=True, description=None)],
    body=None,
    responses=[Record(status=200, description="How far it is.")],
)
DELETE_CALL = Record(
    method="delete",
    path="/api/v1/assets/{asset_id}/with/a/very/long/path/that/does/not/fit/on/a/phone/{at}/{all}",
    summary="Delete a file",
    description="",
    anchor="assets-delete",
    parameters=[],
    body=None,
    responses=[],
)
DOCS = {
    "info": {
        "title": "Atelier API",
        "version": "0.1.0",
        "description": "Everything the pages can do. Sign in for a token, or create an API key.",
    },
    "groups": [("Generation", [VIDEO_CALL, STATUS_CALL]), ("Assets", [DELETE_CALL])],
    "curl": "curl -H 'Authorization: Bearer atl_…' \\\n  http://127.0.0.1:8000/api/v1/jobs",
}

USERS = [
    ADMIN,
    ORDINARY_USER,
    User(
        id="u-3",
        email="bob@studio.example",
        name="Bob " + UNBROKEN[:90],
        role=Role.USER,
        is_active=False,
        created_at=NOW - timedelta(days=400),
        last_login_at=NOW - timedelta(hours=7),
    ),
    User(
        id="u-4",
        email="x" * 242 + "@example.org",
        name=HOSTILE[:100],
        role=Role.ADMIN,
        is_active=True,
        created_at=NOW,
        last_login_at=NOW,
    ),
]
JOBS_WITH_OWNER = [OwnedJob(it, USERS[number % 4].email if number % 5 else None) for number, it in enumerate(JOBS)]
STATS = Stats(
    users={"admin": 2, "user": 22},
    tokens={"active": 19, "expired": 9, "revoked": 3},
    jobs={"queued": 2, "processing": 4, "completed": 12_480, "failed": 31, "cancelled": 7},
    cost_nano=418_200_000_000,
)
NO_STATS = Stats(
    users={"admin": 1, "user": 0},
    tokens={"active": 0, "expired": 0, "revoked": 0},
    jobs={"queued": 0, "processing": 0, "completed": 0, "failed": 0, "cancelled": 0},
    cost_nano=None,
)
VERSIONS = {"atelier": "0.1.0", "litestar": "2.25.0", "duckdb": "2.0.0", "httpx": "0.28.1"}
TASKS = [
    TaskHealth(name, NOW - timedelta(seconds=4), None, True) for name in ("worker", "model refresh", "asset cleanup")
]
FAILING_TASKS = [
    TaskHealth("worker", NOW - timedelta(days=1), "ConnectError", False),
    TaskHealth("model refresh", NOW, None, False),
]
ENTRIES = [
    Entry(
        id=f"e-{number}",
        happened_at=NOW - timedelta(hours=number),
        actor_id="u-1",
        actor_email=USERS[number % 4].email,
        action=action,
        subject=(USERS[number % 4].email, None, HOSTILE)[number % 3],
        detail={
            "role": "admin",
            "new_job_id": HOSTILE,
            "count": 9,
            "older_than_days": 90,
            "statuses": ["failed", "cancelled"],
            "added": 1,
            "removed": 0,
            "fields": ["base_url", "api_key"],
            "changed": 412,
            "forms": ["text_to_image"],
        },
    )
    for number, action in enumerate(Action)
]


def section(part: str, **values: Any) -> dict[str, Any]:
    """A page of the admin section."""
    return page(path=f"/admin/{part}".rstrip("/"), **values)


def listed(**values: Any) -> dict[str, Any]:
    """The jobs of all users."""
    nothing = {"jobs": [], "total": 0, "next": None, "kind": "", "status": "", "user": "", "q": "", "overdue": 0}
    return section("jobs", **{**nothing, **values})


def _edited(it: Model, source: ModelSource) -> EditedModel:
    saved = DescribedModel(
        model_id=it.id,
        base=None if source is ModelSource.EDITED else it,
        enabled=True,
        description=description_of(it),
        version=3,
        changed_by=USERS[0].email,
        changed_at=NOW,
    )
    provided = source is ModelSource.PROVIDER
    forms = ["text_to_image"] if source is ModelSource.EDITED else []
    return EditedModel(model=it, source=source, saved=None if provided else saved, default_for=forms)


DRAFT: dict[str, Any] = {
    "name": "FLUX.1 [dev]",
    "description": HOSTILE,
    "type": "hybrid",
    "inputs": [{"role": "image", "max": 0, "formats": ["image/png"], "max_bytes": 10485760, "max_width": 4096}],
    "outputs": {"default": 9, "max": 4},
    "parameters": {
        "properties": {
            "image_size": {"title": "Image size", "type": "string", "enum": ["square", "wide"], "default": "square"},
            "steps": {"title": "Steps", "type": "integer", "minimum": 1, "maximum": 50, "default": 60},
            "seed": {"title": HOSTILE, "type": "integer", "x-widget": "seed"},
            "safe": {"title": "Safety checker", "type": "boolean", "default": True},
            "style": {"title": "Style", "type": "string", "x-widget": "textarea"},
            "loras": {"title": "LoRAs", "type": "array"},
        }
    },
    "price": "0.1 / 0",
    "button": "Generate image",
    "help": {"what_is": HOSTILE, "use_cases": [HOSTILE, "b"], "tips": ["c"]},
}


def model_editor(found: EditedModel | None, draft: Any, view: str = "form", **values: Any) -> dict[str, Any]:
    """The editor with a draft and its problems."""
    problems = values.pop("problems", None)
    problems = descriptions.problems(draft) if problems is None else problems
    return section(
        "models/edit",
        **{
            "target": Target(id=found.model.id, version=3) if found else Target(provider="fal", endpoint=HOSTILE),
            "found": found,
            "values": draft_values(draft),
            "json": HOSTILE,
            "view": view,
            "parameters": parameter_rows(draft, problems),
            "inputs": input_rows(draft, problems),
            "rest": {"parameters": "{}", "outputs": HOSTILE},
            "errors": {
                name: messages(problems, name) for name in ("name", "type", "price", "button", "outputs", "help")
            },
            "target_errors": {},
            "message": None,
            "providers": ["fal", "openrouter"],
            "types": [("hybrid", "Hybrid"), ("text_to_image", "Text to image")],
            "forms": [("text_to_image", "Text to image")],
            "controls": CONTROLS,
            "problems": problems,
            "fields": FIELDS["image"],
            "cost": CostEstimate(NANO, NANO, CostBasis.FORMULA),
            "button": "Generate image",
            "name": "FLUX.1 [dev]",
            **values,
        },
    )


ADMIN_STATES: dict[str, Mapping[str, Mapping[str, Any]]] = {
    "admin/macros.html": {"nothing": {}},
    "admin/section.html": {"bare": section("")},
    "admin/dashboard.html": {
        "busy": section(
            "",
            stats=STATS,
            tasks=TASKS,
            disk=Disk(41_700_000_000, 212_000_000_000),
            database=DatabaseHealth(True, 1.37),
            versions=VERSIONS,
            notice="12 expired or revoked tokens were deleted.",
        ),
        "first day": section(
            "", stats=NO_STATS, tasks=TASKS, disk=Disk(0, 9), database=DatabaseHealth(True, 0.6), versions=VERSIONS
        ),
        "broken": section(
            "",
            stats=STATS,
            tasks=FAILING_TASKS,
            disk=Disk(9, 9),
            database=DatabaseHealth(False, 0.0),
            versions=VERSIONS,
        ),
    },
    "admin/providers.html": {
        "none": page(accounts=[], simulator_on=True, path="/admin/providers"),
        "some": page(accounts=PROVIDERS, simulator_on=False, simulated=False, path="/admin/providers"),
        "simulator on": page(accounts=PROVIDERS[:1], simulator_on=True, path="/admin/providers"),
    },
    "admin/provider.html": {
        "new": page(**PROVIDER_FORM, path="/admin/providers/new"),
        "rejected": page(
            **{
                **PROVIDER_FORM,
                "values": {"name": HOSTILE, "kind": "openrouter", "base_url": HOSTILE, "priority": HOSTILE},
                "errors": dict.fromkeys(("name", "kind", "base_url", "api_key"), HOSTILE),
            },
            path="/admin/providers",
        ),
        "taken": page(**{**PROVIDER_FORM, "message": HOSTILE}, path="/admin/providers"),
        **{
            f"of {account.name}": page(**{**PROVIDER_FORM, "account": account}, path=f"/admin/providers/{account.name}")
            for account in PROVIDERS
        },
        "priority rejected": page(
            **{**PROVIDER_FORM, "account": PROVIDERS[1], "errors": {"priority": "wrong"}},
            path="/admin/providers/router",
        ),
    },
    "admin/users.html": {
        "some": section("users", users=USERS, total=412, next="c=&", q=""),
        "found": section("users", users=USERS[1:2], total=1, next=None, q=HOSTILE),
        "none": section("users", users=[], total=0, next=None, q="zz"),
    },
    "admin/delete_user.html": {
        "much": section("users/u-2/delete", preview=DeletionPreview(USERS[3], 1204, 2, 87)),
        "little": section("users/u-2/delete", preview=DeletionPreview(ORDINARY_USER, 1, 1, 1)),
        "nothing": section("users/u-2/delete", preview=DeletionPreview(USERS[2], 0, 0, 0)),
    },
    "admin/jobs.html": {
        "all": listed(jobs=JOBS_WITH_OWNER, total=12_524, next="c=&", overdue=2),
        "failed": listed(
            jobs=JOBS_WITH_OWNER[11:13], total=2, status="failed", kind="video", user=HOSTILE, q='"a" & b', overdue=1
        ),
        "none match": listed(user="zz"),
        "none": listed(),
    },
    "admin/job.html": {
        **{it.job.id: section(f"jobs/{it.job.id}", found=it, events=[]) for it in JOBS_WITH_OWNER},
        "with events": section("jobs/video", found=OwnedJob(VIDEO, ORDINARY_USER.email), events=EVENTS),
    },
    "admin/purge.html": {
        "many": section("jobs/purge", days=90, statuses=[JobStatus.FAILED, JobStatus.CANCELLED], count=1204),
        "one": section("jobs/purge", days=1, statuses=[], count=1),
        "none": section("jobs/purge", days=36_500, statuses=[JobStatus.FAILED], count=0),
    },
    "admin/models.html": {
        "some": section(
            "models",
            models=[
                _edited(msgspec.structs.replace(it, enabled=number % 3 > 0), list(ModelSource)[number % 3])
                for number, it in enumerate([*MODELS["text"], *MODELS["image"], *MODELS["video"]])
            ],
            q="",
            last=Changes(added=("GPT-5",), removed=(), changed=("Veo 3.1", HOSTILE), at=NOW),
        ),
        "none found": section("models", models=[], q=HOSTILE, last=Changes(at=NOW)),
        "none": section("models", models=[], q="", last=Changes()),
    },
    "admin/model.html": {
        "problems": model_editor(_edited(MODELS["image"][0], ModelSource.EDITED), DRAFT),
        "as the provider describes it": model_editor(
            _edited(MODELS["image"][1], ModelSource.PROVIDER), {"name": "A", "type": "text_to_text"}, problems=[]
        ),
        "added": model_editor(
            _edited(MODELS["image"][1], ModelSource.ADDED), DRAFT, problems=[], message=HOSTILE, cost=None, fields=[]
        ),
        "new": model_editor(None, {"name": "", "type": "text_to_image"}),
        "refused": model_editor(None, DRAFT, target_errors={"provider": HOSTILE, "endpoint": "is a model already"}),
        "json": model_editor(_edited(MODELS["image"][0], ModelSource.EDITED), DRAFT, view="json"),
    },
    "admin/_model_preview.html": {
        "problems": {
            "problems": [DescriptionProblem(f"parameters.properties.{HOSTILE}", HOSTILE)] * 30,
            "fields": WRONG,
            "cost": None,
            "button": HOSTILE,
            "name": HOSTILE,
        },
        "valid": {
            "problems": [],
            "fields": FIELDS["video"],
            "cost": CostEstimate(NANO, NANO, CostBasis.FORMULA),
            "button": "Generate video",
            "name": "Veo",
        },
        "empty": {"problems": [], "fields": [], "cost": None, "button": "", "name": ""},
    },
    "admin/audit.html": {
        "some": section("audit", entries=ENTRIES, total=412, next="c=&"),
        "none": section("audit", entries=[], total=0, next=None),
    },
}

A_MILLION = [
    Price(3 * NANO, 3 * NANO, "per 1M input tokens"),
    Price(15 * NANO, 15 * NANO, "per 1M output tokens"),
]
OFFERS = [
    Offered(
        msgspec.structs.replace(MODELS["text"][0], context_length=1_000_000), A_MILLION, False, "/generate/text?model=a"
    ),
    Offered(MODELS["text"][1], [], True, "/generate/text?model=b"),
    Offered(MODELS["image"][0], [], False, "/generate/image?model=c"),
    Offered(MODELS["image"][2], [Price(NANO // 25, NANO // 25, "per image")], False, "/generate/image?model=d"),
    Offered(MODELS["video"][2], [Price(NANO // 20, NANO // 7, "per second")], False, None),
    Offered(model("x/sly", HOSTILE, ("audio",), description=HOSTILE), [], False, None),
]
FILTERS = {"q": "", "output": "", "input": "", "provider": "", "sort": "name"}
MODEL_STATES: dict[str, Mapping[str, Mapping[str, Any]]] = {
    "models/macros.html": {"nothing": {}},
    "models/models.html": {
        "some": page(
            path="/models", offers=OFFERS, total=412, next="c=&", providers=["fal", "openrouter"], filters=FILTERS
        ),
        "found": page(
            path="/models",
            current_user=ORDINARY_USER,
            offers=OFFERS[:1],
            total=1,
            next=None,
            providers=["openrouter"],
            filters={"q": HOSTILE, "output": "image", "input": "text", "provider": "fal", "sort": "price"},
        ),
        "none found": page(
            path="/models", offers=[], total=0, next=None, providers=[], filters={**FILTERS, "output": "video"}
        ),
        "none": page(path="/models", offers=[], total=0, next=None, providers=[], filters=FILTERS),
        "none, user": page(
            path="/models", current_user=ORDINARY_USER, offers=[], total=0, next=None, providers=[], filters=FILTERS
        ),
    },
    "models/model.html": {
        "text": page(path="/models/a", offered=OFFERS[0], prices=A_MILLION, fields=FIELDS["text"], favorite=False),
        "video": page(
            path="/models/b", offered=OFFERS[4], prices=OFFERS[4].prices, fields=FIELDS["video"], favorite=True
        ),
        "free": page(
            path="/models/c", current_user=ORDINARY_USER, offered=OFFERS[1], prices=[], fields=[], favorite=False
        ),
        "hostile": page(path="/models/d", offered=OFFERS[5], prices=[], fields=WRONG, favorite=False),
    },
}

CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/148.0 Safari/537.36"
ACTIVE_SESSIONS = [
    (
        Session(
            id=f"s-{number}",
            user_id="u-1",
            kind=SessionKind.TOKEN if number == 2 else SessionKind.PAGE,
            agent=agent,
            created_at=NOW - timedelta(days=number),
            last_used_at=NOW - timedelta(hours=number),
            expires_at=NOW + timedelta(days=30),
        ),
        name,
        number == 0,
    )
    for number, (agent, name) in enumerate(
        [(CHROME, "Chrome on Linux"), ("", "Unknown"), ("python-httpx/0.28", "python-httpx"), (HOSTILE, HOSTILE[:40])]
    )
]
KEYS = [
    ApiKey(
        id=f"k-{number}",
        user_id="u-1",
        name=name,
        prefix="atl_8f3kQ2xZ",
        created_at=NOW - timedelta(days=40),
        expires_at=expires,
        last_used_at=None if number else NOW - timedelta(minutes=3),
        monthly_cap_nano=cap,
        allowed_models=models,
        spent_nano=spent,
    )
    for number, (name, expires, cap, spent, models) in enumerate(
        [
            ("laptop", None, None, 0, None),
            ("nightly renders", NOW + timedelta(days=90), 25_000_000_000, 3_200_000_000, ("google/veo-3.1",)),
            (UNBROKEN[:100], NOW - timedelta(days=1), 999_999_999 * 10**9, 61_000_000, (UNBROKEN[:200], HOSTILE[:200])),
        ]
    )
]


def profile(**values: Any) -> dict[str, Any]:
    return page(
        **{
            "path": "/users/profile",
            "section": "",
            "submitted": {},
            "errors": {},
            "message": None,
            "active_sessions": ACTIVE_SESSIONS,
            "keys": KEYS,
            "created": None,
            "origin": "https://studio.example",
            "today": "2026-11-20",
            **values,
        }
    )


PROFILE_STATES = {
    "plain": profile(),
    "newcomer": profile(current_user=ORDINARY_USER, active_sessions=ACTIVE_SESSIONS[:1], keys=[]),
    "wrong email": profile(
        section="email",
        submitted={"email": HOSTILE},
        errors={"email": "must be an email address", "current_password": "is incorrect"},
        message="Email must be an email address.",
    ),
    "wrong password": profile(
        section="password",
        errors={"password": "must be 8 to 128 characters"},
        message="Password must be 8 to 128 characters.",
    ),
    "wrong name": profile(
        section="name", submitted={"name": UNBROKEN}, errors={"name": "is too long"}, message="Too long."
    ),
    "wrong key": profile(
        section="api-keys",
        submitted={
            "name": HOSTILE,
            "expires_at": "2020-01-01",
            "monthly_cap_usd": HOSTILE,
            "allowed_models": f"{HOSTILE} {UNBROKEN}",
        },
        errors={
            "name": "is required",
            "expires_at": "must be in the future",
            "monthly_cap_usd": "must be a positive amount such as 25 or 7.50, with at most 12 digits",
            "allowed_models": "must list 1 to 200 models",
        },
        message="Name is required.",
    ),
    "too many attempts": profile(
        section="email", submitted={"email": "a@b.c"}, message="Too many attempts. Try again in 60 seconds."
    ),
    "gone": profile(section="sessions", message="Session not found. It may have ended already."),
    "new key": profile(section="api-keys", created=NewApiKey(KEYS[0], "atl_" + "8f3kQ2xZ" * 5 + "abc")),
}


def shown(name: str, text: str, **values: Any) -> ShownMessage:
    """A message of the user."""
    siblings = {key: values.pop(key) for key in ("number", "count", "before", "after") if key in values}
    message = {
        "conversation_id": "conversation-1",
        "owner_id": "u-1",
        "role": Speaker.USER,
        "created_at": NOW,
        "ended_at": NOW,
    }
    return ShownMessage(message=Message(**{**message, "id": name, "text": text, **values}), **siblings)


def answer(name: str, text: str, **values: Any) -> ShownMessage:
    """An answer of the model."""
    return shown(
        name,
        text,
        **{
            "role": Speaker.ASSISTANT,
            "model": "anthropic/claude-sonnet-4.5",
            "model_name": "Claude Sonnet 4.5",
            "provider": "openrouter",
            "usage": Usage(prompt_tokens=61, completion_tokens=351, total_tokens=412),
            "cost_nano": 6_100_000,
            **values,
        },
    )


def thread(*shown: ShownMessage, **values: Any) -> Thread:
    return Thread(conversation=CONVERSATIONS[0], shown=list(shown), **values)


def conversation(name: str, title: str) -> Conversation:
    return Conversation(
        id=name,
        owner_id="u-1",
        title=title,
        model="anthropic/claude-sonnet-4.5",
        system_prompt="Be brief.",
        leaf_id="answer",
        created_at=NOW,
        changed_at=NOW,
    )


CONVERSATIONS = [
    conversation("conversation-1", "Shot list for the harbour film"),
    conversation("conversation-2", "Names for a paper boat"),
    conversation("conversation-3", HOSTILE),
    conversation("conversation-4", UNBROKEN[:80]),
]
UNKNOWN_COST: dict[str, Any] = {"usage": None, "cost_nano": None}
HTML = Markup(
    "<p>Five shots, from far to near:</p><ol><li>Wide: fog lifts.</li></ol><h3>Lenses</h3>"
    '<pre><code tabindex="0" data-language="json">{"seconds": [6, 4]}</code></pre>'
    '<table tabindex="0"><tbody><tr><td>a</td></tr></tbody></table>'
)
TURNS = {
    "question": shown("question", "Give me five shots for the harbour scene."),
    "question, edited": shown("edited", "Another\n\n  one", number=2, count=3, before="question", after="third"),
    "hostile question": shown("hostile", HOSTILE, images=("image-1", "image-2")),
    "answer": answer("answer", TEXT),
    "answer, second": answer("second", TEXT, number=2, count=2, before="answer"),
    "of unknown cost": answer("unpriced", TEXT, **UNKNOWN_COST),
    "waiting": answer("waiting", "", status=AnswerStatus.STREAMING, ended_at=None, **UNKNOWN_COST),
    "streaming": answer("streaming", "Five shots,", status=AnswerStatus.STREAMING, ended_at=None, **UNKNOWN_COST),
    "stopped": answer("stopped", "Five shots,", status=AnswerStatus.STOPPED, **UNKNOWN_COST),
    "stopped before the first word": answer("silent", "", status=AnswerStatus.STOPPED, **UNKNOWN_COST),
    "failed": answer(
        "failed",
        HOSTILE,
        status=AnswerStatus.FAILED,
        error=AnswerError(ErrorCode.OUTCOME_UNKNOWN, "Atelier was stopped while the answer was being written."),
        **UNKNOWN_COST,
    ),
}
HTML_BY_ID = {it.message.id: HTML if it.message.text else Markup() for it in TURNS.values()}
THREADS = {
    "finished": thread(TURNS["question"], TURNS["answer"], TURNS["question, edited"], TURNS["answer, second"]),
    "streaming": thread(TURNS["question"], TURNS["answer"], TURNS["hostile question"], TURNS["streaming"]),
    "failed": thread(TURNS["question"], TURNS["failed"], earlier="edited"),
    "stopped": thread(TURNS["hostile question"], TURNS["stopped before the first word"]),
}
COMPOSER: dict[str, Any] = {
    "conversation_id": "conversation-1",
    "key": "key-1",
    "models": MODELS["text"],
    "values": {"text": "", "model": "openai/gpt-5", "system_prompt": ""},
    "chosen": [],
    "library": [image(n) for n in range(3)],
    "errors": {},
    "message": None,
    "csrf_token": "token'\"<&",
}
COMPOSERS: dict[str, dict[str, Any]] = {
    "new": {**COMPOSER, "conversation_id": None},
    "open": COMPOSER,
    "typed": {**COMPOSER, "values": {"text": HOSTILE, "model": "openai/gpt-5", "system_prompt": HOSTILE}},
    "wrong": {
        **COMPOSER,
        "errors": {"text": "Enter a message.", "model": "Choose a model.", "system_prompt": "Too long."},
    },
    "refused": {
        **COMPOSER,
        "message": "An answer is still being written in this conversation.",
        "values": {**COMPOSER["values"]},
    },
    "with images": {**COMPOSER, "chosen": ["image-1", "image-2"], "library": [], "errors": {"images": HOSTILE}},
    "model gone": {**COMPOSER, "values": {**COMPOSER["values"], "model": "gone/model"}},
}


def chat_page(**values: Any) -> dict[str, Any]:
    return page(
        **{
            **COMPOSER,
            "path": "/chat/conversation-1",
            "thread": THREADS["finished"],
            "written": HTML_BY_ID,
            "conversations": CONVERSATIONS,
            "next": None,
            "q": "",
            "current": "conversation-1",
            **THREADED,
            "examples": (),
            "deleted": "",
            **values,
        }
    )


NEW_CHAT: dict[str, Any] = {
    **COMPOSERS["new"],
    "thread": None,
    "current": "",
    "examples": EXAMPLES["text"],
    "path": "/chat/new",
}
THREADED: dict[str, Any] = {"until": None, "refused": None}
REFUSED_INPUT = {
    "edit": RejectedForm("question", HOSTILE, Invalid("Enter a message.")),
    "title": RejectedForm("title", UNBROKEN, Invalid("Must be at most 80 characters.")),
}
CHAT_STATES: dict[str, Mapping[str, Mapping[str, Any]]] = {
    "chat/_message.html": {
        name: {**THREADED, "it": it, "html": HTML_BY_ID[it.message.id], "csrf_token": "token"}
        for name, it in TURNS.items()
    },
    "chat/_thread.html": {
        **{
            name: {**THREADED, "thread": it, "written": HTML_BY_ID, "csrf_token": "token"}
            for name, it in THREADS.items()
        },
        "earlier": {
            **THREADED,
            "thread": THREADS["finished"],
            "written": HTML_BY_ID,
            "until": "x",
            "csrf_token": "token",
        },
        "edit refused": {
            "thread": THREADS["finished"],
            "written": HTML_BY_ID,
            "until": None,
            "refused": REFUSED_INPUT["edit"],
            "csrf_token": "token",
        },
    },
    "chat/_edit.html": {
        "as it was": {**THREADED, "it": TURNS["question, edited"], "csrf_token": "token"},
        "refused": {"it": TURNS["question"], "until": "x&", "refused": REFUSED_INPUT["edit"], "csrf_token": "token"},
    },
    "chat/_composer.html": COMPOSERS,
    "chat/_conversation.html": {
        "current": {"conversation": CONVERSATIONS[0], "current": "conversation-1", "csrf_token": "token"},
        "other": {"conversation": CONVERSATIONS[2], "current": "conversation-1", "csrf_token": "token"},
    },
    "chat/_deleted.html": {"deleted": {"conversation": CONVERSATIONS[0], "csrf_token": "token"}},
    "chat/_conversations.html": {
        "first": {
            "conversations": CONVERSATIONS,
            "next": "2026-11-20T09:30:00 x&",
            "q": HOSTILE,
            "current": "conversation-2",
            "csrf_token": "t",
        },
        "last": {"conversations": CONVERSATIONS[:1], "next": None, "q": "", "current": "", "csrf_token": "t"},
        "none": {"conversations": [], "next": None, "q": "", "current": "", "csrf_token": "t"},
        "none found": {"conversations": [], "next": None, "q": HOSTILE, "current": "", "csrf_token": "t"},
    },
    "chat/chat.html": {
        **{name: chat_page(thread=it) for name, it in THREADS.items()},
        "earlier": chat_page(until="x"),
        "wrong": chat_page(**COMPOSERS["wrong"]),
        "edit refused": chat_page(refused=REFUSED_INPUT["edit"]),
        "title refused": chat_page(thread=THREADS["streaming"], refused=REFUSED_INPUT["title"]),
        "many": chat_page(next="c=&", q=HOSTILE),
        "new": chat_page(**NEW_CHAT),
        "first": chat_page(**{**NEW_CHAT, "conversations": []}),
        "deleted": chat_page(**{**NEW_CHAT, "deleted": "conversation-1"}),
        "no model": chat_page(**{**NEW_CHAT, "models": [], "conversations": []}),
        "no model, user": chat_page(**{**NEW_CHAT, "models": []}, current_user=ORDINARY_USER),
    },
}


EDITED = image(3)
EDIT_FORM = EditorForm(models=MODELS["image"], model=MODELS["image"][0], fields=FIELDS["image"])
NO_EDITS = Results(versions={EDITED.id: 1})
EDITS = Results(
    jobs=[QUEUED, PREVIEWED, PROCESSING, REFUSED, BARE_FAILURE, CANCELLED, CANCELLING, IMAGE, FOUR, HOSTILE_JOB],
    shown=image(2),
    versions={EDITED.id: 1, "image-2": 2},
)


def editor(**values: Any) -> dict[str, Any]:
    """The editor's page and its parts."""
    return page(
        **{
            "image": EDITED,
            "form": EDIT_FORM,
            "values": {"mask-feather": "8"},
            "errors": {},
            "message": None,
            "key": "3f1c",
            "mask": None,
            "results": NO_EDITS,
            "shown": "",
            "version": "5d2e",
            "path": "/edit/image-3",
            **values,
        }
    )


EDITORS = {
    "new": editor(),
    "edited": editor(
        values={"prompt": "A second moon", "mask_asset_id": "mask-1"}, mask=image(4), results=EDITS, shown="image-2"
    ),
    "priced": editor(
        form=msgspec.structs.replace(EDIT_FORM, fields=[], cost=CostEstimate(50_000_000, 50_000_000, CostBasis.FORMULA))
    ),
    "wrong": editor(
        image=msgspec.structs.replace(EDITED, prompt=HOSTILE),
        form=msgspec.structs.replace(EDIT_FORM, fields=WRONG),
        values={"prompt": HOSTILE, "area-left": HOSTILE, "mask-invert": "true", "margin-top": HOSTILE},
        message="The request is not valid.",
        errors=dict.fromkeys(("prompt", "mask", "image", "area", "margins", "mask-feather", "model"), HOSTILE),
        results=EDITS,
    ),
}
NO_EDITOR_MODEL = EditorForm(models=[], model=None)
EDITOR_STATES: dict[str, Mapping[str, Mapping[str, Any]]] = {
    "editor/editor.html": {
        **EDITORS,
        "no model": editor(form=NO_EDITOR_MODEL),
        "no model, user": editor(form=NO_EDITOR_MODEL, current_user=ORDINARY_USER),
    },
    "editor/_form.html": EDITORS,
    "editor/_fields.html": EDITORS,
    "editor/_results.html": EDITORS,
}


def batch_of(
    name: str, prompts: Sequence[str], axes: Sequence[Axis], jobs: Sequence[Job | None], **values: Any
) -> Batch:
    return Batch(
        **{
            "id": f"batch-{name}",
            "owner_id": "u-1",
            "kind": Kind.IMAGE,
            "request": {"prompts": list(prompts), "models": ["a"]},
            "axes": tuple(axes),
            "total": len(jobs),
            "estimated_nano": NANO,
            "created_at": NOW,
            "counters": Counter(job.status for job in jobs if job),
            "spent_nano": NANO // 3,
            **values,
        }
    )


def batch_page(batch: Batch, jobs: Sequence[Job | None]) -> dict[str, Any]:
    labels = itertools.product(*(axis.titles for axis in batch.varied))
    places = [Place(shown, job) for shown, job in zip(labels, jobs, strict=True)]
    context = page(path=f"/batches/{batch.id}", batch=batch, grid=grid_of(batch, places))
    return {**context, "columns": columns(places, {"queued": NANO})} if batch.compared else context


SERIES_JOBS: list[Job | None] = [IMAGE, PROCESSING, QUEUED, REFUSED, None, VIDEO]
SERIES = batch_of(
    "series", [HOSTILE], [Axis("prompt", (HOSTILE, LONG[:300])), Axis("seed", ("1", "2", "3"))], SERIES_JOBS
)
PAUSED = batch_of("paused", [UNBROKEN], [Axis("seed", ("1", "2"))], [QUEUED, IMAGE], paused_at=NOW)
PAUSED_JOBS = [msgspec.structs.replace(QUEUED, paused=True), FOUR]
TEXT_SERIES = batch_of("texts", [""], [Axis("prompt", ("a", "b"))], [TEXTS, CANCELLED], kind=Kind.TEXT, spent_nano=None)
COMPARED_JOBS: list[Job | None] = [IMAGE, REFUSED, PROCESSING, None]
COMPARED = batch_of(
    "compared", [HOSTILE], [Axis("model", ("FLUX", UNBROKEN[:80], HOSTILE[:60], "Deleted"))], COMPARED_JOBS
)
COMPARED_ENDED = batch_of("ended", ["A boat"], [Axis("model", ("FLUX", "Recraft"))], [IMAGE, FOUR])


def batch_form(kind: str, view: str, **values: Any) -> dict[str, Any]:
    names = ("prompts", "system_prompt", "image_asset_id", "choices")
    return page(
        **{
            "path": "/compare/new" if view == "compare" else "/batches/new",
            "kind": kind,
            "view": view,
            "models": MODELS[kind],
            "chosen": MODELS[kind][:2],
            "fields": FIELDS[kind],
            "values": dict.fromkeys(names, ""),
            "total": "12 jobs · about $0.48",
            "errors": {},
            "message": None,
            "images": [image(n) for n in range(3)],
            "key": "3f1c",
            "batch": None,
            "columns": [],
            **values,
        }
    )


WRONG_BATCH = {"prompts": HOSTILE, "models": HOSTILE, "image_asset_id": HOSTILE, "choices": HOSTILE}
BATCH_FORMS = {
    "series": batch_form("image", "series"),
    "compare": batch_form("image", "compare"),
    "texts": batch_form(
        "text",
        "series",
        values={**dict.fromkeys(("image_asset_id", "choices"), ""), "prompts": LONG[:900], "system_prompt": HOSTILE},
    ),
    "videos": batch_form("video", "compare", images=[], fields=[], total=""),
    "wrong": batch_form(
        "image",
        "series",
        errors=WRONG_BATCH,
        fields=WRONG,
        message=HOSTILE,
        total=HOSTILE,
        values={"prompts": HOSTILE, "system_prompt": "", "image_asset_id": "elsewhere", "choices": "random"},
    ),
}
BATCH_STATES: dict[str, Mapping[str, Mapping[str, Any]]] = {
    "batches/macros.html": {"nothing": {}},
    "batches/_form.html": BATCH_FORMS,
    "batches/_fields.html": BATCH_FORMS,
    "batches/_total.html": BATCH_FORMS,
    "batches/new.html": {**BATCH_FORMS, "no model": batch_form("image", "series", models=[], chosen=[])},
    "batches/batches.html": {
        "some": page(path="/batches", batches=[SERIES, PAUSED, TEXT_SERIES, COMPARED, COMPARED_ENDED], next="c=&"),
        "none": page(path="/batches", batches=[], next=None),
    },
    **{
        template: {
            "grid": batch_page(SERIES, SERIES_JOBS),
            "paused": batch_page(PAUSED, PAUSED_JOBS),
            "texts": batch_page(TEXT_SERIES, [TEXTS, CANCELLED]),
            "compared": batch_page(COMPARED_ENDED, [IMAGE, FOUR]),
        }
        for template in ("batches/batch.html", "batches/_batch.html")
    },
    "batches/_comparison.html": {
        "in progress": batch_page(COMPARED, COMPARED_JOBS),
        "ended": batch_page(COMPARED_ENDED, [IMAGE, FOUR]),
    },
    "batches/compare.html": {
        "new": batch_form("image", "compare"),
        "one model": batch_form("image", "compare", models=MODELS["image"][:1]),
        "in progress": {**batch_form("image", "compare"), **batch_page(COMPARED, COMPARED_JOBS)},
        "ended": {**batch_form("image", "compare"), **batch_page(COMPARED_ENDED, [IMAGE, FOUR])},
    },
}


STATES: dict[str, Mapping[str, Mapping[str, Any]]] = {
    **BATCH_STATES,
    **EDITOR_STATES,
    **CHAT_STATES,
    **ADMIN_STATES,
    **MODEL_STATES,
    "accounts/profile.html": PROFILE_STATES,
    "base.html": {
        "admin": page(notice="Saved.", path="/jobs/1"),
        "user": page(current_user=ORDINARY_USER, theme="light"),
        "signed out": page(current_user=None, simulated=False, theme="dark"),
    },
    "base_plain.html": {"plain": {}, "themed": {"theme": "light"}},
    "shared/macros.html": {"nothing": {}},
    "shared/banner.html": {
        "admin": {"simulated": True, "current_user": ADMIN},
        "user": {"simulated": True, "current_user": ORDINARY_USER},
        "signed out": {"simulated": True},
        "connected": {"simulated": False, "current_user": ADMIN},
    },
    "shared/head.html": {"nothing": {}},
    "shared/scripts.html": {"nothing": {}},
    "shared/shortcuts.html": {"nothing": {}},
    "shared/navigation.html": {
        "admin": page(path="/jobs/1"),
        "user": page(current_user=ORDINARY_USER, theme="light"),
        "signed out": page(current_user=None),
    },
    "jobs/macros.html": {"nothing": {}},
    "jobs/_card.html": {name: {"job": it, "csrf_token": "token"} for name, it in CARDS.items()},
    "jobs/_deleted.html": {name: {"job": it, "csrf_token": "token"} for name, it in CARDS.items() if it.final},
    **PROMPT_STATES,
    "generation/_form.html": FORMS,
    "generation/_prompt.html": FORMS,
    "generation/_price.html": {
        "known": {"kind": "image", "price": HOSTILE},
        "unknown": {"kind": "text", "price": None},
    },
    "generation/_fields.html": {
        name: {
            key: context[key]
            for key in (
                "kind",
                "model",
                "fields",
                "negative",
                "slots",
                "chosen_inputs",
                "images",
                "errors",
                "price",
                "instead",
            )
        }
        for name, context in FORMS.items()
    },
    "generation/_input.html": {
        slot.role.value: {
            **{key: FORMS["inputs in every role"][key] for key in ("chosen_inputs", "images", "errors")},
            "slot": slot,
        }
        for slot in SLOTS
    },
    "generation/create.html": {
        **FORMS,
        "first time": create("image", jobs=[]),
        "a file without settings": create("image", restore_error=HOSTILE),
        "first time, user": create("video", current_user=ORDINARY_USER, jobs=[], simulated=False, directives=[]),
        "all cards": create("text", jobs=JOBS),
        "no model": create("video", models=[], model=None, fields=[], price=None, jobs=[]),
        "no model, user": create(
            "image", current_user=ORDINARY_USER, models=[], model=None, fields=[], price=None, jobs=[]
        ),
        "endless": create("text", values={**EMPTY, "prompt": LONG}, jobs=[ENDLESS_JOB, UNBROKEN_JOB, HOSTILE_JOB]),
    },
    "accounts/login.html": {
        "first": sign(),
        "wrong": sign(values=TYPED, message="The email or the password is wrong."),
        "missing": sign(values=TYPED, errors={"email": "Say who you are.", "password": "Needed."}, theme="light"),
        "closed": sign(open=False),
    },
    "accounts/register.html": {
        "first": sign(),
        "wrong": sign(
            values=TYPED,
            message="The account cannot be made like this.",
            errors={"email": "There is an account with this email.", "name": "Too long.", "password": "Too short."},
        ),
        "closed": sign(open=False),
        "closed to this address": sign(
            open=False, message="Registration is only open to email addresses at example.org."
        ),
    },
    "errors/error.html": {
        "missing": MISSING,
        "missing, signed in": page(**MISSING),
        "broken": BROKEN,
        "broken, signed in": page(**BROKEN),
        "themed": {**MISSING, "theme": "light"},
    },
    "errors/_error.html": {"missing": MISSING, "broken": BROKEN},
    "jobs/_job.html": {
        **{name: {"job": it, "events": [], "csrf_token": "token"} for name, it in CARDS.items()},
        "with events": {"job": VIDEO, "events": EVENTS, "csrf_token": "token"},
    },
    "jobs/job.html": {
        **{name: page(job=it, events=[], path=f"/jobs/{it.id}") for name, it in CARDS.items()},
        "with events": page(job=VIDEO, events=EVENTS, path="/jobs/video"),
    },
    "jobs/jobs.html": {
        "all": page(jobs=JOBS, next="cursor=&", status="", kind="", queued=7, path="/jobs"),
        "queued": page(jobs=[WAITING_FIRST, WAITING], next=None, status="queued", kind="", queued=1, path="/jobs"),
        "failed": page(
            jobs=[REFUSED, UNKNOWN, UNBROKEN_JOB], next=None, status="failed", kind="video", queued=0, path="/jobs"
        ),
        "none match": page(jobs=[], next=None, status="cancelled", kind="text", queued=0, path="/jobs"),
        "none": page(
            jobs=[], next=None, status="", kind="", queued=0, path="/jobs", simulated=False, notice="Deleted."
        ),
    },
    "library/_asset.html": {
        name: {"asset": it, "csrf_token": "token"}
        for name, it in {"image": image(1), "video": video(1), "uploaded": UPLOADED, "bare video": BARE_VIDEO}.items()
    },
    "library/_deleted.html": {
        "image": {"asset": image(1), "csrf_token": "token"},
        "video": {"asset": BARE_VIDEO, "csrf_token": "token"},
    },
    "library/_assets.html": {
        "first": {"assets": ASSETS, "next": "c=&", "kind": "", "q": HOSTILE, "csrf_token": "token"},
        "last": {"assets": [UPLOADED, BARE_VIDEO], "next": None, "kind": "image", "q": "", "csrf_token": "token"},
        "none": {"assets": [], "next": None, "kind": "", "q": "", "csrf_token": "token"},
    },
    "library/library.html": {
        "full": page(jobs=[], assets=ASSETS, total=12480, next="c=&", kind="", q="", path="/library"),
        "with jobs": page(
            jobs=[PROCESSING, QUEUED], assets=ASSETS[:9], total=9, next=None, kind="", q="", path="/library"
        ),
        "only jobs": page(jobs=[PROCESSING], assets=[], total=0, next=None, kind="", q="", path="/library"),
        "videos": page(
            jobs=[],
            assets=[video(n) for n in range(7)] + [BARE_VIDEO],
            total=8,
            next=None,
            kind="video",
            q="",
            path="/library",
        ),
        "one": page(jobs=[], assets=[UPLOADED], total=1, next=None, kind="image", q="dawn", path="/library"),
        "not found": page(jobs=[], assets=[], total=0, next=None, kind="video", q=HOSTILE, path="/library"),
        "none of a kind": page(jobs=[], assets=[], total=0, next=None, kind="image", q="", path="/library"),
        "empty": page(
            jobs=[], assets=[], total=0, next=None, kind="", q="", path="/library", current_user=ORDINARY_USER
        ),
    },
    "library/asset.html": {
        "image": page(asset=image(2), job=IMAGE, versions=[image(2)], path="/library/image-2"),
        "enhanced": page(asset=image(2), job=ENHANCED, versions=[image(2)], path="/library/image-2"),
        "portrait": page(asset=image(5), job=FOUR, versions=[image(5)], path="/library/image-5"),
        "partial": page(asset=image(13), job=PARTIAL, versions=[image(13)], path="/library/image-13"),
        "video": page(asset=video(1), job=VIDEO, versions=[video(1)], path="/library/video-1"),
        "without a prompt": page(asset=video(3), job=ANIMATED, versions=[video(3)], path="/library/video-3"),
        "uploaded": page(asset=UPLOADED, job=None, versions=[UPLOADED], path="/library/image-30"),
        "bare video": page(asset=BARE_VIDEO, job=None, versions=[BARE_VIDEO], path="/library/video-31"),
        "endless": page(asset=image(1), job=ENDLESS_JOB, versions=[image(1)], path="/library/image-1"),
        "version": page(asset=image(2), job=IMAGE, versions=[image(1), image(2)], path="/library/image-2"),
    },
    "home/dashboard.html": {
        "busy": page(
            jobs=FEED[:8], counts={"images": 1204, "videos": 87, "texts": 311, "running": 2}, spent_nano=418_200_000_000
        ),
        "first time": page(
            jobs=[],
            counts={"images": 0, "videos": 0, "texts": 0, "running": 0},
            spent_nano=None,
            current_user=ORDINARY_USER,
        ),
    },
    "home/spending.html": {
        "some months": page(
            months=[Month("2026-11", 418_200_000_000, 1_312, 4), Month("2026-10", 6_100_000, 1, 0)], path="/spending"
        ),
        "none": page(months=[], path="/spending"),
    },
    "home/providers.html": {
        "simulated": page(directives=DIRECTIVES, path="/help/providers"),
        "connected": page(directives=[], simulated=False, path="/help/providers"),
    },
    "home/api.html": {
        "with a key": page(
            examples=build_examples("https://studio.example", "laptop", "atl_8f3kQ2xZ", "anthropic/claude-sonnet-4.5"),
            path="/help/api",
        ),
        "without anything": page(
            examples=build_examples("http://127.0.0.1:8000", None, None, None), path="/help/api", simulated=False
        ),
        "hostile": page(
            examples=build_examples(
                "http://a.very.long.name.of.a.studio.example:18000", HOSTILE[:100], "atl_x", HOSTILE
            ),
            path="/help/api",
            current_user=ORDINARY_USER,
        ),
    },
    "home/docs.html": {
        "some": page(**DOCS, path="/api/docs"),
        "signed out": page(**DOCS, path="/api/docs", current_user=None, simulated=False),
    },
}
