"""The places of a batch as rows and columns."""

import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from app.base.errors import Missing
from app.batches.schemas import Batch, Place
from app.jobs.schemas import JobStatus
from app.library.schemas import Asset
from app.storage.contact_sheet import Sheet, SheetCell


class Grid(msgspec.Struct, frozen=True):
    """`columns` are the labels of the axis that varies fastest and `rows` those of all others with their places. A batch with one
    axis has neither labels: its places follow each other."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Place, ...]], ...]

    @property
    def has_axes(self) -> bool:
        return bool(self.columns)


def grid_of(batch: Batch, places: Sequence[Place]) -> Grid:
    """The places of the batch, which are in its order."""
    if len(batch.varied) < 2:
        return Grid((), (("", tuple(places)),))
    *others, last = batch.varied
    size = len(last.titles)
    names = [" · ".join(labels) for labels in itertools.product(*(axis.titles for axis in others))]
    rows = [tuple(places[start : start + size]) for start in range(0, len(places), size)]
    return Grid(last.titles, tuple(zip(names, rows, strict=True)))


def sheet_of(grid: Grid, thumbnail: Callable[[Asset], Path]) -> Sheet:
    """The grid as a contact sheet; `thumbnail` finds the path of an asset's thumbnail or raises Missing."""

    def cell(place: Place) -> SheetCell:
        job = place.job
        path = None
        if job is not None and job.assets:
            try:
                path = thumbnail(job.assets[0])
            except Missing:
                path = None
        text = "Deleted" if job is None else "" if job.status is JobStatus.COMPLETED else job.status.capitalize()
        return SheetCell(path, text, "" if grid.has_axes else " · ".join(place.labels))

    if grid.has_axes:
        rows = [[cell(place) for place in row] for _, row in grid.rows]
        return Sheet(rows, grid.columns, [label for label, _ in grid.rows])
    cells = [cell(place) for _, row in grid.rows for place in row]
    across = math.ceil(math.sqrt(len(cells)))
    cells += [SheetCell(None)] * (-len(cells) % across)
    return Sheet([cells[start : start + across] for start in range(0, len(cells), across)])
