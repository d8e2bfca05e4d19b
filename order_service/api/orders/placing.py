"""`POST /orders/` and `POST /orders/bulk/`.

A bulk request handles each order exactly as if it had been sent alone: same problems, same
fingerprint; order i has the key `<key>/<i>`.
"""

import asyncio
from typing import Annotated, Any, NamedTuple
from uuid import UUID

from fastapi import APIRouter, Depends
from msgspec import Raw
from pydantic import Field, WithJsonSchema
from starlette.requests import Request
from starlette.responses import Response

from order_service import limits
from order_service.accounts import users
from order_service.api.orders.command_context import (
    KEY_LENGTH_MAX,
    CommandContext,
    CommandContextDependency,
    fast_path_context,
    invalid_key,
)
from order_service.api.orders.details import NewAddress, NewContact
from order_service.api.orders.fields import Item, Price, free_text, minor_or_zero
from order_service.api.orders.labels import Metadata, Tags
from order_service.api.orders.permissions import (
    COMMAND_SCOPES,
    may_command,
    may_price,
    owner_of_new,
    price_authority,
)
from order_service.api.orders.replies import dry_run, reply_with, reply_with_preview
from order_service.commands.handler import Creation, place_order, preview_order
from order_service.documents import consistency_token
from order_service.documents.order import Order
from order_service.documents.preview import BulkResult, BulkResults, DryRun
from order_service.domain import money
from order_service.domain.commands import PlaceOrder, PriceAuthority
from order_service.domain.placing import prices_not_trusted
from order_service.domain.state import LINES_MAX
from order_service.errors import InvalidRequest
from order_service.ids import now, order_id_of_key, uuid7
from order_service.log.append import OrderText
from order_service.log.fold import FoldedOrder
from order_service.web.fast_path import ParsedRequest
from order_service.web.fields import Body, Id, Note, ShortText
from order_service.web.identity import redacted_for
from order_service.web.json_body import Characters, json_body
from order_service.web.openapi.annotations import documented
from order_service.web.problems import problem as problems
from order_service.web.query_parameters import known_parameters
from order_service.web.responses import NO_STORE, Reply, json_answer

router = APIRouter(prefix="/orders", tags=["orders"])

_Outcome = tuple[BulkResult, FoldedOrder | None]  # the result; the placed order
_ROUTE = "POST /orders/"  # of an order's fingerprint, alone or in bulk


# Any string passes here: `money` refuses unknown and malformed codes alike (`unknown-currency`).
CurrencyCode = Annotated[
    str,
    Characters(most=3),
    WithJsonSchema({"type": "string", "maxLength": 3, "pattern": "^[A-Z]{3}$"}),
]


class PlaceOrderRequest(Body):
    """Either every item has a price, and a `sku` or a `name`; or none has a price, and
    `total_price` is the agreed total."""

    items: list[Item] = Field(min_length=1, max_length=LINES_MAX)
    total_price: Price | None = None
    currency: CurrencyCode | None = None
    external_reference: ShortText | None = None
    shipping_address: NewAddress | None = None
    billing_address: NewAddress | None = None
    customer: NewContact | None = Field(
        None,
        description="Whom the order is for. From staff and API keys without `user_id`: a guest.",
    )
    metadata: Metadata = Field(default_factory=dict)
    tags: Tags = Field(default_factory=list)
    note: Note | None = Field(None, description="For the shop and the order's owner to read.")
    shipping_fee: Price | None = None
    shipping_tax: Price | None = Field(None, description="Recorded as sent.")
    tax_included: bool = Field(
        default=True, strict=True, description="false: the taxes are added to the prices."
    )
    discount: Price | None = Field(
        None, description="Off all items: shared out in proportion to their prices."
    )
    user_id: Id | None = Field(
        default=None, description="For staff and API keys: the user who owns the order."
    )

    @property
    def has_prices(self) -> bool:
        amounts = (self.total_price, self.shipping_fee, self.shipping_tax, self.discount)
        return any(amount is not None for amount in amounts) or any(
            item.has_prices for item in self.items
        )

    def command(
        self,
        user_id: UUID | None,
        default_currency: str,
        texts: "_Texts",
        prices: PriceAuthority,
    ) -> PlaceOrder:
        """Raises `InvalidRequest` for an amount with more digits than the currency has, and
        RuleViolation for prices that the caller may not set."""
        if prices == "refused" and self.has_prices:
            raise prices_not_trusted(
                "set prices here (CUSTOMER_PRICES): orders come from the shop's backend"
            )
        currency = default_currency if self.currency is None else self.currency
        lines = [item.line(number, currency) for number, item in enumerate(self.items, start=1)]
        total = self.total_price
        return PlaceOrder(
            user_id,
            currency,
            tuple(lines),
            None if total is None else money.to_minor(total, currency),
            self.external_reference,
            minor_or_zero(self.shipping_fee, currency),
            minor_or_zero(self.discount, currency),
            texts.address_ref,
            minor_or_zero(self.shipping_tax, currency),
            self.tax_included,
            prices == "trusted",
            texts.billing_address_ref,
            texts.contact_ref,
            self.metadata,
            tuple(self.tags),
            texts.note_ref,
        )


class _Texts(NamedTuple):
    """The free texts of a new order, and their ids."""

    texts: tuple[OrderText, ...] = ()
    address_ref: UUID | None = None
    billing_address_ref: UUID | None = None
    contact_ref: UUID | None = None
    note_ref: UUID | None = None


def _texts_of(body: PlaceOrderRequest, context: CommandContext) -> _Texts:
    shipping, billing, customer = body.shipping_address, body.billing_address, body.customer
    if shipping is None and billing is None and customer is None and body.note is None:
        return _Texts()
    kept = [
        free_text("address", None if shipping is None else shipping.as_text()),
        free_text("billing_address", None if billing is None else billing.as_text()),
        free_text("contact", None if customer is None else customer.as_text()),
        free_text("note", body.note),
    ]
    texts = tuple(text for _, found in kept for text in found)
    if customer is not None:
        texts += customer.digests(context)
    return _Texts(texts, *(ref for ref, _ in kept))


class PlaceOrdersRequest(Body):
    # `Any`, since each order is validated alone: an invalid one fails without the others.
    orders: list[
        Annotated[Any, Field(description="A body of `POST /orders/`; an invalid one fails alone.")]
    ] = Field(min_length=1, max_length=limits.BULK_ORDERS_MAX)


_one_order = json_body(PlaceOrderRequest)
_many_orders = json_body(PlaceOrdersRequest)
_UNKNOWN = {"id": None, "number": None}  # members that a preview cannot have


@router.post(
    "/",
    operation_id="orders_place",
    summary="Place an order",
    status_code=201,
    response_model=Order,
    responses={
        # Clients of openapi-generator take every 2xx answer for the first one listed.
        200: {"description": "The preview of a dry run.", "model": Order | DryRun},
        **documented(
            *("forbidden", "duplicate-reference", "total-mismatch", "unknown-currency"),
            *("discount-exceeds-goods", "prices-not-trusted"),
            status=201,
            sends=("Location", "ETag", "Consistency-Token"),
            may_send=("Idempotent-Replayed",),
            scopes=(COMMAND_SCOPES[PlaceOrder],),
        ),
    },
)
async def post_order(
    request: Request,
    context: CommandContextDependency,
    body: Annotated[PlaceOrderRequest, Depends(_one_order)],
) -> Response:
    """Places the order, which is stored durably before the answer is sent."""
    await known_parameters(request)
    return (await _place(context, body)).response()


async def post_on_fast_path(parsed: ParsedRequest) -> Reply:
    """`post_order` on the fast path."""
    context = fast_path_context(parsed, order_exists=False)
    return await _place(context, _one_order.parse(parsed.body))


async def _place(context: CommandContext, body: PlaceOrderRequest) -> Reply:
    """Stores the order, or previews it in a dry run."""
    creation = _creation(context, body, context.key)
    if context.dry_run:
        return reply_with_preview(await preview_order(context.log, creation, now()), **_UNKNOWN)
    placed = await place_order(context.log, creation)
    return reply_with(placed, 201, {"Location": f"/orders/{creation.order_id}/"})


def _creation(context: CommandContext, body: PlaceOrderRequest, key: str | None) -> Creation:
    caller = context.caller
    texts = _texts_of(body, context)

    async def command() -> PlaceOrder:
        user_id = owner_of_new(caller, body.user_id, body.customer is not None)
        if body.has_prices:
            may_price(caller)
        if user_id not in (None, caller.own_id):
            await _check_user(context, user_id)
        settings = context.settings
        prices = price_authority(caller, settings)
        return body.command(user_id, settings.DEFAULT_CURRENCY, texts, prices)

    order_id = order_id_of_key(caller.user_id, key) if key else uuid7()
    return Creation(order_id, command, context.metadata(_ROUTE, body, key), texts.texts)


async def _check_user(context: CommandContext, user_id: UUID) -> None:
    if await users.find(context.engine, user_id) is None:
        unknown = {"detail": "There is no such user", "pointer": "#/user_id", "code": "unknown"}
        raise InvalidRequest("validation", "Wrong fields: 1; see errors.", errors=[unknown])


# --- bulk -----------------------------------------------------------------------------------------


@router.post(
    "/bulk/",
    operation_id="orders_place_bulk",
    summary="Place many orders",
    response_model=BulkResults,
    responses=documented(scopes=(COMMAND_SCOPES[PlaceOrder],)),
)
async def place_bulk(
    request: Request,
    context: CommandContextDependency,
    body: Annotated[PlaceOrdersRequest, Depends(_many_orders)],
) -> Response:
    """Places each order as if sent alone; its result has that `status`, and the problem if any."""
    await known_parameters(request)
    may_command(context.caller, PlaceOrder)
    last = len(body.orders) - 1
    if context.key and len(_key_of(context.key, last)) > KEY_LENGTH_MAX:
        raise invalid_key()
    async with asyncio.TaskGroup() as group:  # concurrently, so that they share one append
        orders = enumerate(body.orders)
        tasks = [group.create_task(_outcome(context, i, order)) for i, order in orders]
    outcomes = [task.result() for task in tasks]
    tokens = consistency_token.tokens_of(placed for _, placed in outcomes if placed is not None)
    headers = NO_STORE | ({consistency_token.HEADER: tokens} if tokens else {})
    return json_answer(BulkResults([result for result, _ in outcomes]), headers=headers)


def _key_of(key: str, index: int) -> str:
    return f"{key}/{index}"


async def _outcome(context: CommandContext, index: int, order: object) -> _Outcome:
    try:
        key = _key_of(context.key, index) if context.key else None
        creation = _creation(context, _one_order.validate(order), key)
        if context.dry_run:
            preview = dry_run(await preview_order(context.log, creation, now()), **_UNKNOWN)
            return BulkResult(index, 200, order=preview.order, events=preview.events), None
        placed = (await place_order(context.log, creation)).order
    except Exception as error:
        problem = problems.of_exception(redacted_for(context.caller, error))
        if problem is None:
            raise
        document = Raw(problems.body(problem, context.request_id))
        return BulkResult(index, problem.status, problem=document), None
    return BulkResult(index, 201, placed.id, placed.number, placed.version), placed
