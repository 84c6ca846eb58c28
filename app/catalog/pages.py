"""The model pages: search, filters, sort orders, prices, and links from each model to its create form."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
from litestar import Response, Router, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from app.accounts.guards import SignedIn, signed_in
from app.catalog.prices import free, prices, summary, typical_cost
from app.catalog.schemas import Model, Price
from app.catalog.service import Catalog
from app.providers.contract import Kind
from app.web import forms, paging
from app.web.render import page

PAGE_SIZE: Final = 60  # models
UNKNOWN_COST: Final = Decimal("Infinity")  # sorts last


class Offered(msgspec.Struct, frozen=True):
    """A model as listed. `use` is the URL of the create form with this model selected, None when no form supports it."""

    model: Model
    prices: list[Price]
    free: bool
    use: str | None

    @property
    def typical_cost(self) -> Decimal:
        cost = typical_cost(self.model)
        return UNKNOWN_COST if cost is None else cost


# Sort keys by the name of the sort order. Models without the value come last.
ORDERS: Final[dict[str, Callable[[Offered], Any]]] = {
    "name": lambda it: it.model.name.lower(),
    "price": lambda it: it.typical_cost,
    "context": lambda it: -(it.model.context_length or 0),
}


@get("/")
async def index(
    request: SignedIn,
    catalog: NamedDependency[Catalog],
    q: FromQuery[str] = "",
    output: FromQuery[str] = "",
    input: FromQuery[str] = "",
    provider: FromQuery[str] = "",
    sort: FromQuery[str] = "name",
    cursor: FromQuery[str | None] = None,
) -> Response[str]:
    found = catalog.search(output=output or None, input=input or None, provider=provider or None, q=q)
    sort = sort if sort in ORDERS else "name"
    ordered = sorted((_offered(model, output) for model in found), key=ORDERS[sort])
    models = paging.part_of(ordered, lambda it: it.model.id, cursor, PAGE_SIZE)
    return page(
        "models/models.html",
        request,
        offers=models.items,
        total=models.total,
        next=models.next,
        providers=sorted({model.provider for model in catalog.search()}),
        filters={"q": q, "output": output, "input": input, "provider": provider, "sort": sort},
    )


@get("/{id:path}")
async def model(request: SignedIn, id: FromPath[str], catalog: NamedDependency[Catalog]) -> Response[str]:
    """One model with all its prices and parameters."""
    found = catalog.find(id.removeprefix("/"))
    return page(
        "models/model.html",
        request,
        offered=_offered(found),
        prices=prices(found),
        fields=catalog.parameters.fields(found, {}),
        favorite=found.id in await catalog.preferences.favorites(request.user.id),
    )


@post("/favorite", status_code=200)
async def set_favorite(request: SignedIn, catalog: NamedDependency[Catalog]) -> Response[str]:
    """Mark a model, or unmark it."""
    form = await forms.read(request)
    found = catalog.find(form.get("id", ""))
    marked = form.get("favorite") == "true"
    await catalog.preferences.set_favorite(request.user.id, found.id, marked)
    return forms.go(f"/models/{found.id}", "Added to favorites." if marked else "Removed from favorites.")


def _offered(model: Model, output: str = "") -> Offered:
    return Offered(model, summary(model), free(model), _form_of(model, output))


def _form_of(model: Model, output: str) -> str | None:
    """The URL of the create form with this model selected. With several outputs, the filtered one is preferred."""
    kinds = [kind for kind in (Kind.VIDEO, Kind.IMAGE, Kind.TEXT) if model.makes(kind)]
    if not kinds:
        return None
    # A model with text and image output is offered for images only.
    kind = output if output in kinds and output != Kind.TEXT else kinds[0]
    return f"/generate/{kind}?" + urlencode({"model": model.id, **({"mode": "image"} if model.requires_image else {})})


routes: Final[list[Any]] = [
    Router("/models", route_handlers=[index, model, set_favorite], guards=[signed_in], include_in_schema=False)
]
