"""The prompt templates and wildcard lists that a user sees: their own, and those that are shared with everyone.

A shared one is changed by its owner or an admin; every other user can copy it.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import msgspec

from app.accounts.schemas import User
from app.accounts.service import Accounts
from app.audit.schemas import Action, Actor
from app.audit.service import Audit
from app.base import clock
from app.base.errors import Conflict, Denied, Invalid, Missing
from app.base.ids import uuid7
from app.base.paging import Page
from app.db.database import Database
from app.db.transaction import Transaction
from app.prompts import exchange, repository
from app.prompts.schemas import ImportedPrompts, Prompt, PromptContent, PromptKind, Visibility, name_key
from app.prompts.validation import MAX_NAME, MAX_WILDCARD_NAME, WILDCARD, checked
from app.providers.contract import Kind

MAX_PROMPTS: Final = 1_000  # of one user
MAX_TERMS: Final = 8  # of one search
MAX_WILDCARDS: Final = 2_000_000  # characters of all lists that one prompt names
UNDO: Final = timedelta(minutes=10)  # in which a deleted prompt can be restored


class Prompts:
    """Everything that users do with prompts."""

    def __init__(self, database: Database, accounts: Accounts, audit: Audit) -> None:
        self._database = database
        self._accounts = accounts
        self._audit = audit

    # Reading

    async def search(
        self,
        user: User,
        *,
        kind: PromptKind | None = None,
        visibility: Visibility | None = None,
        output: Kind | None = None,
        q: str = "",
        after: str | None = None,
        limit: int = 24,
    ) -> Page[Prompt]:
        """By name; `q` matches where name, tags or text contain each of its words. `output` also finds those for any kind of
        output. `after` is the key of the last one of the previous page."""
        found, total = await self._database.read(
            repository.by_name,
            user.id,
            kind=kind,
            visibility=visibility,
            output=output,
            terms=q.split()[:MAX_TERMS],
            after=_parse_key(after),
            limit=limit + 1,
        )
        return Page.of(await self._shown(user, found), total, limit, key=_key)

    async def find(self, user: User, id: str) -> Prompt:
        """One with all its lines. Raises Missing for what the user cannot see."""
        prompt = await self._database.read(repository.find, user.id, id)
        if prompt is None:
            raise _missing()
        return (await self._shown(user, [prompt]))[0]

    async def wildcards(self, owner: str, prompts: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """The lines of all lists that these prompts name as `__name__`, also by way of other lists, by the name as it is written;
        those that do not exist are left out. A user's own list wins over a shared one, and of several shared ones the oldest.
        Raises Invalid when they are too large together."""
        return await self._database.read(_wildcards, owner, prompts)

    async def wildcard_names(self, owner: str) -> Sequence[str]:
        """The names of all lists that the user can use."""
        return await self._database.read(repository.wildcard_names, owner)

    # Changing

    async def add(self, user: User, kind: PromptKind, content: PromptContent) -> Prompt:
        """Raises Invalid, and Conflict when the user has one of this kind and name, or too many."""
        prompt = _new(user, kind, checked(kind, content))
        await self._database.write_for(user.id, _add, prompt)
        return await self.find(user, prompt.id)

    async def change(self, user: User, id: str, content: PromptContent, version: int) -> Prompt:
        """Replace the content of the version that the user has seen. Raises Conflict when there is a newer one."""
        old = await self._changeable(user, id)
        content = checked(old.kind, content)

        def change(tx: Transaction) -> None:
            current = repository.find(tx, old.owner_id, id)
            if current is None:
                raise _missing()
            if current.version != version:
                raise Conflict(
                    "This prompt was changed meanwhile. Compare it with your version, then save again.",
                    details={"version": current.version},
                )
            _check_name(tx, old.owner_id, old.kind, content.name, except_for=id)
            repository.change(tx, old.owner_id, _replaced(current, content))
            if old.owner_id != user.id:
                self._audit.record(tx, Actor(user.id, user.email), Action.PROMPT_CHANGED, content.name)

        await self._database.write_for(old.owner_id, change)
        return await self.find(user, id)

    async def delete(self, user: User, id: str) -> Prompt:
        """It can be restored for `UNDO`."""
        prompt = await self._changeable(user, id)

        def delete(tx: Transaction) -> None:
            repository.mark_deleted(tx, prompt.owner_id, id, clock.now())
            if prompt.owner_id != user.id:
                self._audit.record(tx, Actor(user.id, user.email), Action.PROMPT_DELETED, prompt.name)

        await self._database.write_for(prompt.owner_id, delete)
        return prompt

    async def find_deleted(self, user: User, id: str) -> Prompt | None:
        """One that the user can still restore."""
        prompt = await self._database.read(repository.find_deleted, user.id, id, clock.now() - UNDO)
        return prompt if prompt and _may_change(user, prompt) else None

    async def restore(self, user: User, id: str) -> Prompt:
        """Undo `delete`. Raises Conflict when its name has been taken since."""
        prompt = await self.find_deleted(user, id)
        if prompt is None:
            raise Missing("This prompt can no longer be restored.")
        await self._database.write_for(prompt.owner_id, _restore, prompt)
        return await self.find(user, id)

    async def copy(self, user: User, id: str) -> Prompt:
        """A private copy that belongs to the user, with a name that they do not use yet."""
        prompt = await self.find(user, id)
        copied = _new(user, prompt.kind, msgspec.structs.replace(prompt.content, shared=False))
        added = await self._database.write_for(user.id, _add_copy, copied)
        return await self.find(user, added)

    # Files

    async def export(self, user: User) -> bytes:
        """All prompts of the user's own as a JSON file."""
        return exchange.as_json(await self._database.read(repository.own, user.id))

    async def import_file(self, user: User, name: str, content: bytes) -> ImportedPrompts:
        """Add what is in a JSON file of `export`, or a text file as a wildcard list with the name of the file. Everything is added,
        except what the user has under the same name, or nothing when something is wrong. Raises Invalid."""
        new = [_new(user, kind, content) for kind, content in exchange.read_file(name, content)]
        if not new:
            raise Invalid("There is no prompt in this file.", fields={"file": "There is no prompt in this file."})
        return await self._database.write_for(user.id, _import, user.id, new)

    # Maintenance

    async def sweep(self) -> None:
        """Remove what can no longer be restored."""
        await self._database.write(repository.sweep_any, clock.now() - UNDO)

    def forget_user(self, tx: Transaction, user_id: str) -> None:
        """Delete everything of a user, within the transaction that deletes the user."""
        repository.remove_all(tx, user_id)

    async def _changeable(self, user: User, id: str) -> Prompt:
        prompt = await self.find(user, id)
        if not prompt.may_change:
            raise Denied("Only its owner or an admin can change this prompt. Copy it to change the copy.")
        return prompt

    async def _shown(self, user: User, prompts: Sequence[Prompt]) -> list[Prompt]:
        """As this user sees them."""
        others = await self._accounts.users.by_id(list({it.owner_id for it in prompts} - {user.id}))
        names = {id: other.name or other.email.partition("@")[0] for id, other in others.items()}
        return [
            msgspec.structs.replace(
                it,
                own=it.owner_id == user.id,
                owner_name=names.get(it.owner_id, ""),
                may_change=_may_change(user, it),
            )
            for it in prompts
        ]


def _may_change(user: User, prompt: Prompt) -> bool:
    return prompt.owner_id == user.id or (prompt.shared and user.is_admin)


def _missing() -> Missing:
    return Missing("There is no such prompt.")


def _key(prompt: Prompt) -> str:
    """Where a page of the list ends."""
    return f"{name_key(prompt.name)} {prompt.id}"


def _parse_key(key: str | None) -> tuple[str, str] | None:
    if key is None:
        return None
    name, _, id = key.rpartition(" ")
    return name, id


def _new(user: User, kind: PromptKind, content: PromptContent) -> Prompt:
    now = clock.now()
    prompt = Prompt(
        id=uuid7(),
        owner_id=user.id,
        kind=kind,
        name="",
        text="",
        negative_prompt="",
        output=None,
        tags=(),
        line_count=0,
        shared=False,
        version=0,
        created_at=now,
        changed_at=now,
    )
    return _replaced(prompt, content)


def _replaced(prompt: Prompt, content: PromptContent) -> Prompt:
    """The next version, with this content."""
    return msgspec.structs.replace(
        prompt,
        name=content.name,
        text=content.text,
        negative_prompt=content.negative_prompt,
        output=content.output,
        tags=content.tags,
        lines=content.lines,
        line_count=len(content.lines),
        shared=content.shared,
        version=prompt.version + 1,
        changed_at=clock.now(),
    )


# Transaction functions


def _wildcards(tx: Transaction, owner: str, prompts: Sequence[str]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    names = {name for prompt in prompts for name in WILDCARD.findall(prompt)}
    seen: set[str] = set()
    size = 0
    while names:
        seen |= names
        lists = repository.wildcard_lists(tx, owner, {name_key(name) for name in names})
        lines = {name_key(it.name): it.lines or () for it in lists}
        size += sum(len(line) for each in lines.values() for line in each)
        if size > MAX_WILDCARDS:
            message = f"The wildcards of the prompt have more than {MAX_WILDCARDS:,} characters together."
            raise Invalid(message, fields={"prompt": message})
        found |= {name: lines[key] for name in names if (key := name_key(name)) in lines}
        names = {name for each in lines.values() for line in each for name in WILDCARD.findall(line)} - seen
    return found


def _add(tx: Transaction, prompt: Prompt) -> None:
    if repository.count(tx, prompt.owner_id) >= MAX_PROMPTS:
        raise Conflict(f"You have {MAX_PROMPTS:,} prompts, which is the most possible. Delete some first.")
    _check_name(tx, prompt.owner_id, prompt.kind, prompt.name)
    repository.add(tx, prompt.owner_id, prompt)


def _add_copy(tx: Transaction, prompt: Prompt) -> str:
    """The id of the copy."""
    names = (prompt.name, *(_numbered(prompt, number) for number in range(2, MAX_PROMPTS + 2)))
    free = next(name for name in names if repository.id_of(tx, prompt.owner_id, prompt.kind, name) is None)
    _add(tx, msgspec.structs.replace(prompt, name=free))
    return prompt.id


def _numbered(prompt: Prompt, number: int) -> str:
    if prompt.kind is PromptKind.WILDCARDS:
        return prompt.name[: MAX_WILDCARD_NAME - 5].rstrip("_-") + f"-{number}"
    return prompt.name[: MAX_NAME - 5].rstrip() + f" {number}"


def _restore(tx: Transaction, prompt: Prompt) -> None:
    _check_name(tx, prompt.owner_id, prompt.kind, prompt.name)
    repository.mark_restored(tx, prompt.owner_id, prompt.id)


def _import(tx: Transaction, owner: str, prompts: Sequence[Prompt]) -> ImportedPrompts:
    added, skipped = [], []
    for prompt in prompts:
        if repository.id_of(tx, owner, prompt.kind, prompt.name) is not None:
            skipped.append(prompt.name)
            continue
        _add(tx, prompt)
        added.append(prompt.name)
    return ImportedPrompts(tuple(added), tuple(skipped))


def _check_name(tx: Transaction, owner: str, kind: PromptKind, name: str, *, except_for: str | None = None) -> None:
    if repository.id_of(tx, owner, kind, name) not in (None, except_for):
        what = {PromptKind.TEMPLATE: "a template", PromptKind.WILDCARDS: "a wildcard list"}[kind]
        raise Conflict(f"There is {what} called “{name}” already. Choose another name.", details={"name": name})
