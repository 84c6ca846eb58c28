"""The models on offer, for people: search, filters, prices in words, and from a model straight to its form."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
from litestar import Response, Router, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from app.accounts.guards import SignedIn, signed_in
from app.catalog.prices import free, in_short, prices, usual
from app.catalog.schemas import Model, Price
from app.catalog.service import Catalog
from app.providers.contract import Kind
from app.web import paging
from app.web.render import page

SHOWN: Final = 60  # models on one page
UNKNOWN: Final = Decimal("Infinity")  # sorts last


class Offered(msgspec.Struct, frozen=True):
    """A model as it is listed: what it costs, whether that is nothing, and the address of its form."""

    model: Model
    prices: list[Price]
    free: bool
    use: str | None

    @property
    def usual(self) -> Decimal:
        found = usual(self.model)
        return UNKNOWN if found is None else found


# The orders that a list can be put into; what has none of it stands last.
ORDERS: Final[dict[str, Callable[[Offered], Any]]] = {
    "name": lambda it: it.model.name.lower(),
    "price": lambda it: it.usual,
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
    part = paging.part_of(ordered, lambda it: it.model.id, cursor, SHOWN)
    return page(
        "models/models.html",
        request,
        offers=part.items,
        total=part.total,
        next=part.next,
        providers=sorted({model.provider for model in catalog.search()}),
        filters={"q": q, "output": output, "input": input, "provider": provider, "sort": sort},
    )


@get("/{id:path}")
async def model(request: SignedIn, id: FromPath[str], catalog: NamedDependency[Catalog]) -> Response[str]:
    """One model: all its prices, and what can be set."""
    found = catalog.find(id.removeprefix("/"))
    return page(
        "models/model.html",
        request,
        offered=_offered(found),
        prices=prices(found),
        fields=catalog.fields(found, {}),
    )


def _offered(model: Model, output: str = "") -> Offered:
    return Offered(model, in_short(model), free(model), _form_of(model, output))


def _form_of(model: Model, output: str) -> str | None:
    """The address of the form with this model chosen; for what was filtered by where it makes several things."""
    made = [kind for kind in (Kind.VIDEO, Kind.IMAGE, Kind.TEXT) if model.makes(kind)]
    if not made:
        return None
    # A model that writes beside its pictures is offered for the pictures only.
    kind = output if output in made and output != Kind.TEXT else made[0]
    return f"/generate/{kind}?" + urlencode({"model": model.id, **({"mode": "picture"} if model.needs_picture else {})})


routes: Final[list[Any]] = [
    Router("/models", route_handlers=[index, model], guards=[signed_in], include_in_schema=False)
]
