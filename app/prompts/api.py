"""The API of prompt templates and wildcard lists."""

from typing import Annotated, ClassVar, Final, Self

import msgspec
from litestar import Router, delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from app.accounts.guards import SignedIn, signed_in
from app.prompts.schemas import Prompt, PromptContent, PromptKind, Visibility
from app.prompts.service import Prompts
from app.providers.contract import Kind
from app.web import paging
from app.web.openapi import BEARER, error_responses
from app.web.timestamps import TimestampOut, to_iso

Search = Annotated[str, QueryParameter(description="Words in the name, the tags or the text.")]


class PromptOut(msgspec.Struct, kw_only=True):
    """A template (`text`, `negative_prompt`; `output` is the kind of output that it is for, null for any) or a wildcard list
    (`lines`, which are null in a list of prompts). `own`: it belongs to the caller; else `owner_name` names its owner."""

    id: str
    kind: PromptKind
    name: str
    text: str
    negative_prompt: str
    output: Kind | None
    lines: list[str] | None
    line_count: int
    tags: list[str]
    shared: bool
    own: bool
    owner_name: str
    version: int
    created_at: TimestampOut
    updated_at: TimestampOut

    @classmethod
    def of(cls, prompt: Prompt) -> Self:
        return cls(
            id=prompt.id,
            kind=prompt.kind,
            name=prompt.name,
            text=prompt.text,
            negative_prompt=prompt.negative_prompt,
            output=prompt.output,
            lines=None if prompt.lines is None else list(prompt.lines),
            line_count=prompt.line_count,
            tags=list(prompt.tags),
            shared=prompt.shared,
            own=prompt.own,
            owner_name=prompt.owner_name,
            version=prompt.version,
            created_at=to_iso(prompt.created_at),
            updated_at=to_iso(prompt.changed_at),
        )


class PromptList(paging.PageOut[PromptOut]):
    """A page of prompts."""


class PromptFields(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a user enters: `text`, `negative_prompt` and `output` of a template, `lines` of a wildcard list."""

    name: str
    text: str = ""
    negative_prompt: str = ""
    output: Kind | None = None
    lines: list[str] = []
    tags: list[str] = []
    shared: bool = False

    @property
    def content(self) -> PromptContent:
        return PromptContent(
            name=self.name,
            text=self.text,
            negative_prompt=self.negative_prompt,
            output=self.output,
            lines=tuple(self.lines),
            tags=tuple(self.tags),
            shared=self.shared,
        )


class PromptIn(PromptFields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A new template or wildcard list. A list is used in prompts as `__name__`."""

    example: ClassVar = {"kind": "wildcards", "name": "weather", "lines": ["light rain", "morning fog"]}

    kind: PromptKind


class PromptChangeIn(PromptFields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole new content. `version` is the one that it replaces."""

    example: ClassVar = {"name": "seasons", "lines": ["early spring", "late autumn"], "version": 1}

    version: int


@get("/", responses=error_responses(400, 401), summary="List prompts")
async def index(
    request: SignedIn,
    prompts: NamedDependency[Prompts],
    kind: FromQuery[PromptKind | None] = None,
    visibility: FromQuery[Visibility | None] = None,
    output: FromQuery[Kind | None] = None,
    q: Search = "",
    limit: paging.Limit = paging.DEFAULT,
    cursor: paging.Cursor = None,
) -> PromptList:
    """The caller's own and those that are shared, by name. `output` also finds templates for any kind of output."""
    found = await prompts.search(
        request.user, kind=kind, visibility=visibility, output=output, q=q, after=paging.after(cursor), limit=limit
    )
    return PromptList.of(found, PromptOut.of)


@post("/", responses=error_responses(400, 401, 409, 413), summary="Create a prompt template or a wildcard list")
async def add(request: SignedIn, data: JSONBody[PromptIn], prompts: NamedDependency[Prompts]) -> PromptOut:
    return PromptOut.of(await prompts.add(request.user, data.kind, data.content))


@get("/{id:str}", responses=error_responses(400, 401, 404), summary="Get a prompt with all its lines")
async def show(request: SignedIn, id: FromPath[str], prompts: NamedDependency[Prompts]) -> PromptOut:
    return PromptOut.of(await prompts.find(request.user, id))


@put("/{id:str}", responses=error_responses(400, 401, 403, 404, 409, 413), summary="Change a prompt")
async def change(
    request: SignedIn, id: FromPath[str], data: JSONBody[PromptChangeIn], prompts: NamedDependency[Prompts]
) -> PromptOut:
    """A shared prompt is changed by its owner or an admin. 409 with the newest `version` in `details` when it is not the one
    given."""
    return PromptOut.of(await prompts.change(request.user, id, data.content, data.version))


@delete("/{id:str}", responses=error_responses(400, 401, 403, 404), summary="Delete a prompt")
async def remove(request: SignedIn, id: FromPath[str], prompts: NamedDependency[Prompts]) -> None:
    await prompts.delete(request.user, id)


routes: Final = [
    Router(
        "/api/v1/prompts",
        route_handlers=[index, add, show, change, remove],
        guards=[signed_in],
        security=BEARER,
        tags=["Prompts"],
    )
]
