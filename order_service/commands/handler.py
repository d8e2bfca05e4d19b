"""Commands, from the question to the answer.

A command is decided on the order as this process remembers it, and the append proves by its
expected version that nobody moved the order on. Whatever appends nothing (a refusal, a repeat, a
no-op, a stale precondition, a preview) is decided on a freshly read stream: memory may be behind.
"""

import re
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from msgspec import to_builtins

from order_service import limits
from order_service.documents.event import event_for
from order_service.documents.order import etag
from order_service.domain.commands import OrderCommand, PlaceOrder
from order_service.domain.events import OrderEvent
from order_service.domain.immutable import immutable
from order_service.domain.order import decide
from order_service.domain.refusals import violation
from order_service.errors import (
    InvalidRequest,
    OrderNotFound,
    OrderServiceError,
    RuleViolation,
    VersionConflict,
)
from order_service.log.append import Append, OrderText, duplicate_reference
from order_service.log.codec import Metadata, RecordedEvent
from order_service.log.event_log import EventLog
from order_service.log.fold import AnsweredCommand, FoldedOrder
from order_service.telemetry.metrics import REPLAYS

_VERSION = re.compile(r'(?:W/)?"([1-9][0-9]{0,9})"', re.ASCII)


class StaleVersion(OrderServiceError):
    """If-Match named other versions than the order has."""

    def __init__(self, order: FoldedOrder) -> None:
        super().__init__(
            "stale-version",
            f"If-Match does not name version {order.version}, at which order {order.id} is now. "
            "Read the order again and retry.",
            current_version=order.version,
            current_etag=etag(order.version),
        )


class PreconditionRequired(OrderServiceError):
    """Neither If-Match nor expected_version was sent, and one of them has to be."""

    def __init__(self, order: FoldedOrder) -> None:
        super().__init__(
            "precondition-required",
            "Send If-Match with the ETag of the order that you have read, so that nobody's change "
            "is undone unseen.",
            current_etag=etag(order.version),
        )


@immutable
class Precondition:
    """The versions that a client insists on.

    `tags`: ETags, one of which the order must have; `*`: any; None: If-Match was not sent. An
    order's own ETag is strong, so a weak one is none of them (RFC 9110 13.1.1): it only says what
    its sender has read.
    """

    tags: frozenset[str] | Literal["*"] | None = None
    expected_version: int | None = None
    required: bool = False

    def check(self, order: FoldedOrder) -> None:
        """Raises PreconditionRequired, StaleVersion, VersionConflict."""
        if self.required and self.tags is None and self.expected_version is None:
            raise PreconditionRequired(order)
        if self.tags not in (None, "*") and etag(order.version) not in self.tags:
            raise StaleVersion(order)
        if self.expected_version not in (None, order.version):
            raise VersionConflict(order.id, self.expected_version or 0, order.version)

    def known_version(self, order: FoldedOrder) -> int:
        """The newest version that If-Match names of those that the order has left behind; else that
        of the order."""
        named = (int(m[1]) for tag in self.tags or () if (m := _VERSION.fullmatch(tag)))
        return max((version for version in named if version < order.version), default=order.version)


@immutable
class Change:
    """A command on an order, and what has to hold before its rules are asked.

    `visible` raises if the caller may not see the order, `authorize` if it may not do this to one;
    `command` may depend on the order, and refuse as its rules do. They are asked in the HTTP
    contract's order: visibility, repeat, role, precondition, rules. What they raise is an
    `OrderServiceError`: anything else would end the command on an order that may be out of date.
    """

    command: Callable[[FoldedOrder], OrderCommand]
    metadata: Metadata
    visible: Callable[[FoldedOrder], None]
    authorize: Callable[[], None]
    precondition: Precondition = Precondition()
    texts: tuple[OrderText, ...] = ()

    def decide(self, order: FoldedOrder) -> tuple[OrderEvent, ...]:
        self.authorize()
        self.precondition.check(order)
        try:
            self._check_room(order)
            return decide(self.command(order), order.order)
        except RuleViolation as error:
            error.facts["current_version"] = order.version
            raise

    def _check_room(self, order: FoldedOrder) -> None:
        is_owner = self.metadata.actor_type == "user"
        events_max = limits.ORDER_EVENTS_OWNER_MAX if is_owner else limits.ORDER_EVENTS_MAX
        if order.version >= events_max:
            detail = f"The order has {order.version} events: it takes no more than {events_max}."
            raise violation(order.order, "order-full", detail)


@immutable
class Creation:
    """An order to be placed. `command` raises what refuses it: only then is a repeat looked up."""

    order_id: UUID
    command: Callable[[], Awaitable[PlaceOrder]]
    metadata: Metadata
    texts: tuple[OrderText, ...] = ()

    async def append(self) -> Append:
        command = await self.command()
        reference = command.external_reference
        claim = None if reference is None else (command.user_id, reference)
        events = decide(command, None)
        return Append(self.order_id, None, events, self.metadata, claim, self.texts)


@immutable
class Answer:
    """`order` as of the command's last version; `replayed`: a repeat, nothing was appended."""

    order: FoldedOrder
    replayed: bool = False


@immutable
class Preview:
    """What a command would make of an order; nothing of it is stored."""

    order: FoldedOrder
    events: Sequence[RecordedEvent]


# --- placing --------------------------------------------------------------------------------------


async def place_order(log: EventLog, creation: Creation) -> Answer:
    """The order is in the log, once; or it was already, under the same key."""
    if creation.metadata.key is None:  # nobody else knows the id, so nobody waits for anybody
        return Answer(await log.append(await creation.append()))
    async with log.stream_lock(creation.order_id):
        try:
            return Answer(await log.append(await creation.append()))
        except (VersionConflict, InvalidRequest, RuleViolation):
            # Looked up only now: the id follows from the key, so a repeat cannot be appended twice.
            stored = await log.read(creation.order_id)
            earlier = await _repeat(log, stored, creation.metadata, creation=True)
            if not earlier:
                raise
            return earlier


async def preview_order(log: EventLog, creation: Creation, at: datetime) -> Preview:
    """Raises what placing it would raise."""
    append = await creation.append()
    existing = append.reference and await log.order_of_reference(*append.reference)
    if existing:
        raise duplicate_reference(existing_order=existing)
    return Preview(*log.preview(append, at))


# --- changing -------------------------------------------------------------------------------------


async def change_order(log: EventLog, order_id: UUID, change: Change) -> Answer:
    """The order has changed as the command asks, once, or stands so already."""
    async with log.stream_lock(order_id):
        remembered = log.remembered(order_id)
        for _ in range(limits.DECIDE_ATTEMPTS_MAX):
            fresh = remembered is None
            order = remembered or await log.read(order_id)
            remembered = None
            try:
                if order is None:
                    raise OrderNotFound
                change.visible(order)
                if _is_repeat(order, change.metadata) and not fresh:
                    continue
                earlier = await _repeat(log, order, change.metadata, creation=False)
                if earlier:
                    return earlier
                events = change.decide(order)
            except OrderServiceError as error:
                if not fresh:
                    continue
                await _explain(log, order, change, error)
                raise
            if not events:
                if not fresh:
                    continue
                await log.refresh([order])
                return Answer(order)
            append = Append(order_id, order, events, change.metadata, texts=change.texts)
            try:
                return Answer(await log.append(append))
            except VersionConflict as conflict:
                lost = conflict
        raise lost


async def preview_change(log: EventLog, order_id: UUID, change: Change, at: datetime) -> Preview:
    """Raises what the change would raise; a repeat is a question of its own."""
    order = await log.read(order_id)
    if order is None:
        raise OrderNotFound
    change.visible(order)
    try:
        events = change.decide(order)
    except OrderServiceError as error:
        await _explain(log, order, change, error)
        raise
    if not events:
        return Preview(order, ())
    return Preview(*log.preview(Append(order_id, order, events, change.metadata), at))


async def _explain(
    log: EventLog, order: FoldedOrder | None, change: Change, error: OrderServiceError
) -> None:
    """A stale precondition says what has happened since, as the order's timeline shows it."""
    if order is None or not isinstance(error, StaleVersion):
        return
    known = change.precondition.known_version(order)
    after = max(known, order.version - limits.EVENTS_SINCE_MAX)
    viewer: Literal["owner", "staff"] = "owner" if change.metadata.actor_type == "user" else "staff"
    since: list[dict[str, Any]] = []
    for stored in await log.events(order.id, after, order.version):
        shown = event_for(viewer, stored, order.order.currency)
        if shown is not None:
            since.append({"type": shown.type, "actor": shown.actor, "at": shown.at})
    error.facts["events_since"] = to_builtins(since)


# --- repeats --------------------------------------------------------------------------------------


def _is_repeat(order: FoldedOrder, metadata: Metadata) -> bool:
    return (metadata.actor_id, metadata.key, False) in order.commands


def answered_before(
    order: FoldedOrder, metadata: Metadata, *, creation: bool
) -> AnsweredCommand | None:
    """What this stream proves of the same command. Raises InvalidRequest for another one under its
    key."""
    if metadata.key is None or metadata.actor_id is None:
        return None
    answered = order.commands.get((metadata.actor_id, metadata.key, creation))
    if answered is not None and answered.fingerprint != metadata.fingerprint:
        raise InvalidRequest(
            "idempotency-key-reused",
            "This Idempotency-Key was used for another request: take a new key for a new request.",
        )
    return answered


async def _repeat(
    log: EventLog, order: FoldedOrder | None, metadata: Metadata, *, creation: bool
) -> Answer | None:
    """The first answer again, if this stream proves that the command was carried out before."""
    answered = order and answered_before(order, metadata, creation=creation)
    if order is None or answered is None:
        return None
    REPLAYS.inc()
    await log.refresh([order])
    if answered.version == order.version:
        return Answer(order, replayed=True)
    then = await log.read(order.id, up_to_version=answered.version)
    assert then is not None
    return Answer(then, replayed=True)
