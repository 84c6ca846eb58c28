"""Submits batches, and pauses, resumes, cancels and retries them."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import msgspec

from app.accounts.schemas import KeyLimits
from app.base import clock
from app.base.errors import Conflict, Invalid, Missing
from app.base.ids import uuid7
from app.base.paging import Page
from app.batches import cells, repository
from app.batches.batch_form import BatchForm
from app.batches.cells import Cell
from app.batches.comparison import Column, columns
from app.batches.grid import grid_of, sheet_of
from app.batches.schemas import AcceptedBatch, Axis, Batch, BatchEstimate, BatchStatus, NewBatch, Place
from app.db.database import Database
from app.db.transaction import Transaction
from app.generation.schemas import RequestedInput
from app.generation.service import Generation
from app.idempotency.schemas import IdempotencyKey
from app.idempotency.service import Idempotency
from app.jobs.schemas import Job, JobInputRole, JobStatus, LateResultPolicy
from app.jobs.service import Jobs
from app.library.service import Library

STEP = 25  # jobs that are built before the event loop may do something else


class Batches:
    """The batches of all users."""

    def __init__(
        self, database: Database, generation: Generation, jobs: Jobs, library: Library, idempotency: Idempotency
    ) -> None:
        self.form = BatchForm(generation)
        self._database = database
        self._library = library
        self._generation = generation
        self._jobs = jobs
        self._idempotency = idempotency

    # Before a batch starts

    async def submit(
        self, owner: str, new: NewBatch, *, key: IdempotencyKey | None = None, limits: KeyLimits | None = None
    ) -> AcceptedBatch:
        """Enqueue all jobs of a batch, or none: every job is checked before the first one is stored. A repeated request with the
        same `key` returns the first batch. Raises Invalid, which names the first wrong job."""
        async with self._idempotency.first_result(key) as first:
            if first is not None:
                return AcceptedBatch(await self.find(owner, first), repeated=True)
            found, axes = await self._valid_cells(owner, new)
            found = await self._with_inputs(owner, new, found)
            estimate = await self._estimate(found)
            batch = Batch(
                id=uuid7(),
                owner_id=owner,
                kind=new.kind,
                request=_as_json(new),
                axes=axes,
                total=len(found),
                estimated_nano=None if estimate.unknown else estimate.most,
                created_at=clock.now(),
            )
            jobs = [
                msgspec.structs.replace(
                    await self._generation.job(owner, new.kind, cell.request),
                    batch_id=batch.id,
                    batch_position=position,
                )
                async for position, cell in _in_steps(found)
            ]
            also_in_tx = partial(_add, batch)
            first = await self._jobs.of_batches.enqueue(jobs, batch.id, key, limits, also_in_tx)
            return AcceptedBatch(await self.find(owner, first or batch.id), repeated=first is not None)

    async def estimate(self, owner: str, new: NewBatch) -> BatchEstimate:
        """How many jobs the batch would have and what they would cost. Raises Invalid like `submit`."""
        found, _ = await self._valid_cells(owner, new)
        return await self._estimate(found)

    async def _valid_cells(self, owner: str, new: NewBatch) -> tuple[list[Cell], tuple[Axis, ...]]:
        """The jobs of a batch that are valid as far as it can be checked without reading their inputs, and what varies in them."""
        where = ""
        try:
            wildcards = await self._generation.wildcards(owner, new.prompts)
            cells.count(self._generation, new, wildcards)
            found, axes = cells.build(self._generation, new, wildcards)
            async for position, cell in _in_steps(found):
                where = f"Job {position + 1} of {len(found)} ({', '.join(cell.labels)}): " if len(found) > 1 else ""
                self._generation.validate(new.kind, _with_image(new, cell).request)
        except Invalid as exc:
            raise _of_batch(exc, new, where) from None
        return found, axes

    async def _with_inputs(self, owner: str, new: NewBatch, found: Sequence[Cell]) -> list[Cell]:
        """The same cells with the assets of their inputs, each of which is looked up or downloaded once."""
        inputs = tuple(await self._generation.resolve(owner, new.inputs))
        changes: dict[str, Any] = {"inputs": inputs}
        if new.image_asset_id:
            image = RequestedInput(role=JobInputRole.IMAGE, asset_id=new.image_asset_id, field="image_asset_id")
            changes["upload"] = (await self._generation.resolve(owner, [image]))[0].upload
        return [
            msgspec.structs.replace(cell, request=msgspec.structs.replace(cell.request, **changes)) for cell in found
        ]

    async def _estimate(self, found: Sequence[Cell]) -> BatchEstimate:
        """Cells that differ only in prompt and seed cost the same and are estimated once."""
        least = most = unknown = 0
        known: dict[str, Any] = {}
        async for _, cell in _in_steps(found):
            params = {name: value for name, value in cell.request.params.items() if name != "seed"}
            same = msgspec.json.encode((cell.request.model, params), order="sorted").decode()
            if same not in known:
                model = self._generation.choose_model(cell.request.model)
                known[same] = (await self._generation.estimate(model, params)).cost
            cost = known[same]
            unknown += cost is None
            least += cost.least if cost else 0
            most += cost.most if cost else 0
        return BatchEstimate(jobs=len(found), least=least, most=most, unknown=unknown)

    # Reading

    async def find(self, owner: str, id: str) -> Batch:
        """The user's own batch with its counters, or Missing."""
        return await self._database.read(self._find, owner, id)

    async def newest(self, owner: str, *, before: str | None = None, limit: int = 24) -> Page[Batch]:
        """The user's batches, newest first. `before` is the id of the last batch of the previous page."""
        return await self._database.read(self._newest, owner, before, limit)

    async def find_with_jobs(self, owner: str, id: str, *, estimates: bool = False) -> tuple[Batch, Sequence[Place]]:
        """The batch, and its jobs in their places. With `estimates` unfinished jobs have their queue estimates."""

        def read(tx: Transaction) -> tuple[Batch, list[Job]]:
            return self._find(tx, owner, id), self._jobs.of_batches.find(tx, owner, id)

        batch, found = await self._database.read(read)
        jobs = {job.batch_position: job for job in self._jobs.of_batches.current(found, estimates=estimates)}
        labels = itertools.product(*(axis.titles for axis in batch.varied))
        return batch, [Place(shown, jobs.get(position)) for position, shown in enumerate(labels)]

    async def compare(self, owner: str, id: str) -> tuple[Batch, Sequence[Column]]:
        """The batch, and its models side by side; no columns if it is not one prompt for several models."""
        batch, places = await self.find_with_jobs(owner, id, estimates=True)
        if not batch.compared:
            return batch, ()
        unfinished = [place.job for place in places if place.job and not place.job.final]
        costs = {job.id: await self._expected_nano(job) for job in unfinished}
        return batch, columns(places, {id: cost for id, cost in costs.items() if cost is not None})

    async def _expected_nano(self, job: Job) -> int | None:
        try:
            model = self._generation.choose_model(job.model)
        except Invalid:  # it has been disabled meanwhile
            return None
        cost = (await self._generation.estimate(model, job.params)).cost
        return cost.most if cost else None

    async def grid_image(self, owner: str, id: str) -> bytes:
        """The grid of the batch as a JPEG. Raises Missing while it has no result to show."""
        batch, places = await self.find_with_jobs(owner, id)
        if not any(place.job and place.job.assets for place in places):
            raise Missing("This batch has no images yet.")
        return await self._library.contact_sheet(
            sheet_of(grid_of(batch, places), partial(self._library.path, thumbnail=True))
        )

    # Changing

    async def pause(self, owner: str, id: str) -> Batch:
        """Start no more jobs of the batch; those that are processing go on. Raises Conflict when it has ended."""
        return await self._database.write_for(owner, self._set_paused, owner, id, True)

    async def resume(self, owner: str, id: str) -> Batch:
        """Undo `pause`."""
        return await self._database.write_for(owner, self._set_paused, owner, id, False)

    async def cancel(self, owner: str, id: str, late: LateResultPolicy = LateResultPolicy.DISCARD) -> Batch:
        """Cancel all unfinished jobs: those in the queue at once, the others as if each was cancelled by itself. Raises Conflict
        when the batch has ended."""
        await self._database.write_for(owner, self._cancel_queued, owner, id)
        _, places = await self.find_with_jobs(owner, id)
        unfinished = [place.job.id for place in places if place.job and not place.job.final]
        await asyncio.gather(*(self._cancel_one(owner, job, late) for job in unfinished))
        return await self.find(owner, id)

    async def retry_failed(self, owner: str, id: str, *, limits: KeyLimits | None = None) -> Batch:
        """Retry the jobs that failed; repeated clicks retry each of them once. Raises Conflict when there are none, and Invalid
        when their model is no longer available."""
        batch, places = await self.find_with_jobs(owner, id)
        failed = [place.job.id for place in places if place.job and place.job.status is JobStatus.FAILED]
        if not failed:
            raise Conflict("No job of this batch has failed.")
        if batch.status is BatchStatus.PAUSED:
            raise Conflict("This batch is paused. Resume it first.")
        retries = [self._jobs.retry(owner, job, single_flight=True, limits=limits) for job in failed]
        outcomes = await asyncio.gather(*retries, return_exceptions=True)
        errors = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        if len(errors) == len(failed):
            raise errors[0]
        return await self.find(owner, id)

    def forget_user(self, tx: Transaction, owner: str) -> None:
        """Delete everything of a user."""
        repository.forget(tx, owner)

    async def _cancel_one(self, owner: str, job: str, late: LateResultPolicy) -> None:
        with suppress(Conflict, Missing):  # it has ended meanwhile
            await self._jobs.cancel(owner, job, late)

    async def sweep(self) -> None:
        """Delete the batches all of whose jobs were deleted: their requests hold the prompts of these jobs."""
        await self._database.write(self._delete_unused_any)

    # Transaction functions

    def _delete_unused_any(self, tx: Transaction) -> None:
        repository.delete_all_but_any(tx, self._jobs.of_batches.in_use_any(tx))

    def _find(self, tx: Transaction, owner: str, id: str) -> Batch:
        batch = repository.find(tx, owner, id)
        if batch is None:
            raise Missing("There is no such batch.")
        return self._with_counters(tx, owner, [batch])[0]

    def _newest(self, tx: Transaction, owner: str, before: str | None, limit: int) -> Page[Batch]:
        page = Page.of(repository.newest(tx, owner, before, limit + 1), repository.count(tx, owner), limit)
        return Page(self._with_counters(tx, owner, page.items), page.total, page.next)

    def _with_counters(self, tx: Transaction, owner: str, batches: Sequence[Batch]) -> list[Batch]:
        ids = [batch.id for batch in batches]
        tally, spent = self._jobs.of_batches.tally(tx, owner, ids), self._jobs.of_batches.spent(tx, owner, ids)
        return [
            msgspec.structs.replace(batch, counters=tally[batch.id], spent_nano=spent.get(batch.id))
            for batch in batches
        ]

    def _unfinished(self, tx: Transaction, owner: str, id: str) -> Batch:
        batch = self._find(tx, owner, id)
        if not batch.unfinished:
            raise Conflict("All jobs of this batch have ended.")
        return batch

    def _set_paused(self, tx: Transaction, owner: str, id: str, paused: bool) -> Batch:
        paused_at = clock.now() if paused else None
        batch = msgspec.structs.replace(self._unfinished(tx, owner, id), paused_at=paused_at)
        repository.set_state(tx, owner, id, paused_at, None)
        self._jobs.of_batches.set_paused(tx, owner, id, paused)
        return batch

    def _cancel_queued(self, tx: Transaction, owner: str, id: str) -> None:
        self._unfinished(tx, owner, id)
        repository.set_state(tx, owner, id, None, clock.now())
        self._jobs.of_batches.cancel_queued(tx, owner, id)


async def _in_steps(found: Sequence[Cell]) -> AsyncIterator[tuple[int, Cell]]:
    """The cells with their positions. The event loop runs in between."""
    for position, cell in enumerate(found):
        if position % STEP == STEP - 1:
            await asyncio.sleep(0)
        yield position, cell


def _add(batch: Batch, tx: Transaction) -> None:
    repository.add(tx, batch.owner_id, batch)


def _with_image(new: NewBatch, cell: Cell) -> Cell:
    """The cell with its input image, as far as it is known before it is looked up."""
    request = msgspec.structs.replace(cell.request, image_asset_id=new.image_asset_id)
    return msgspec.structs.replace(cell, request=request)


def _of_batch(error: Invalid, new: NewBatch, where: str) -> Invalid:
    """The error of one job, which `where` names, with the names of the fields in the batch's request."""
    names = {name: f"matrix.{name}" for name in new.matrix} | {name: f"params.{name}" for name in new.params}
    names |= {"prompt": "prompts", "model": "models"}
    fields = {names.get(name, name): where + message for name, message in error.fields.items()}
    return Invalid(where + error.message, fields=fields)


def _as_json(new: NewBatch) -> dict[str, Any]:
    """The request as it is stored and shown again."""
    inputs = [
        {"role": each.role.value, "asset_id": each.asset_id, "url": each.url, "weight": each.weight}
        for each in new.inputs
    ]
    found: Mapping[str, Any] = {
        "models": new.models,
        "prompts": new.prompts,
        "system_prompt": new.system_prompt,
        "matrix": new.matrix,
        "params": new.params,
        "inputs": inputs,
        "image_asset_id": new.image_asset_id,
        "choices": new.choices.value,
    }
    return {name: value for name, value in found.items() if value}
