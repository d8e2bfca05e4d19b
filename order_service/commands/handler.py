"""Executes commands: reads the order, decides, appends, answers.

A command is decided on the order as this process remembers it, and the append proves by its
expected version that the order has not changed since. An outcome that appends nothing (a refusal,
a repeat, a no-op, a stale precondition, a preview) has no such proof, so it is decided on a freshly
read stream.
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
from order_service.domain.state import identity
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
    """If-Match does not name the order's version."""

    def __init__(self, order: FoldedOrder) -> None:
        super().__init__(
            "stale-version",
            f"If-Match does not name version {order.version}, the present one of order {order.id}. "
            "Read the order again and retry.",
            current_version=order.version,
            current_etag=etag(order.version),
        )


class PreconditionRequired(OrderServiceError):
    """The service requires If-Match or expected_version, and neither was sent."""

    def __init__(self, order: FoldedOrder) -> None:
        super().__init__(
            "precondition-required",
            "Send If-Match with the ETag of the order that you have read, so that you do not "
            "overwrite a change that you have not seen.",
            current_etag=etag(order.version),
        )


@immutable
class Precondition:
    """The versions that a client requires.

    `tags`: the ETags of If-Match, one of which the order must have; `*`: any; None: not sent.
    An order's ETag is strong, so a weak tag never matches it (RFC 9110 13.1.1); it only shows which
    version the client has read. `required`: one of the two must be sent.
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
        """The newest version in If-Match that is older than the order's; without one, the order's
        version."""
        named = (int(m[1]) for tag in self.tags or () if (m := _VERSION.fullmatch(tag)))
        return max((version for version in named if version < order.version), default=order.version)


@immutable
class Change:
    """A command on an existing order, and the checks before its rules.

    `check_visible` raises if the caller may not see the order, `authorize` if the caller's role may
    not give such a command. `command` builds the command from the order, and may refuse. The order
    of checks is the HTTP contract's: visibility, repeat, role, precondition, rules. All of them
    raise `OrderServiceError` only: another exception would end the command although the remembered
    order may be out of date.
    """

    command: Callable[[FoldedOrder], OrderCommand]
    metadata: Metadata
    check_visible: Callable[[FoldedOrder], None]
    authorize: Callable[[], None]
    precondition: Precondition = Precondition()
    texts: tuple[OrderText, ...] = ()

    def decide(self, order: FoldedOrder) -> tuple[OrderEvent, ...]:
        self.authorize()
        self.precondition.check(order)
        try:
            self._check_not_full(order)
            return decide(self.command(order), order.order)
        except RuleViolation as error:
            error.facts["current_version"] = order.version
            raise

    def _check_not_full(self, order: FoldedOrder) -> None:
        is_owner = self.metadata.actor_type == "user"
        events_max = limits.ORDER_EVENTS_OWNER_MAX if is_owner else limits.ORDER_EVENTS_MAX
        if order.version >= events_max:
            detail = f"The order has {order.version} events: the maximum is {events_max}."
            raise violation(order.order, "order-full", detail)


@immutable
class Creation:
    """A new order. `command` builds the command, or raises: only then is a repeat looked up."""

    order_id: UUID
    command: Callable[[], Awaitable[PlaceOrder]]
    metadata: Metadata
    texts: tuple[OrderText, ...] = ()

    async def append(self) -> Append:
        command = await self.command()
        reference = identity(command.external_reference)
        claim = None if reference is None else (self._claimant(command), reference)
        events = decide(command, None)
        return Append(self.order_id, None, events, self.metadata, claim, self.texts)

    def _claimant(self, command: PlaceOrder) -> UUID:
        """Whose references must differ: the owner's, or those of the API key that places, or of
        whoever places a guest's order."""
        placed_by = self.metadata.actor_id
        if placed_by is not None and (self.metadata.actor_type == "key" or not command.user_id):
            return placed_by
        assert command.user_id is not None, "a guest's order is placed by somebody"
        return command.user_id


@immutable
class Answer:
    """`order`: at the command's last version; `replayed`: a repeat, so nothing was appended."""

    order: FoldedOrder
    replayed: bool = False


@immutable
class Preview:
    """The order after a command, and its events; nothing is stored."""

    order: FoldedOrder
    events: Sequence[RecordedEvent]


# --- placing --------------------------------------------------------------------------------------


async def place_order(log: EventLog, creation: Creation) -> Answer:
    """The order is in the log, once; a repeat under the same key gets the first answer."""
    if creation.metadata.key is None:  # no other request has this id: no stream lock needed
        return Answer(await log.append(await creation.append()))
    async with log.stream_lock(creation.order_id):
        try:
            return Answer(await log.append(await creation.append()))
        except (VersionConflict, InvalidRequest, RuleViolation):
            # A repeat is looked up only now: its id is derived from the key, so its append fails.
            stored = await log.read(creation.order_id)
            first_answer = await _first_answer(log, stored, creation.metadata, creation=True)
            if not first_answer:
                raise
            return first_answer


async def preview_order(log: EventLog, creation: Creation, at: datetime) -> Preview:
    """The order as `place_order` would place it. Raises what that would raise."""
    append = await creation.append()
    existing = append.reference and await log.order_of_reference(*append.reference)
    if existing:
        raise duplicate_reference(existing_order=existing)
    return Preview(*log.preview(append, at))


# --- changing -------------------------------------------------------------------------------------


async def change_order(log: EventLog, order_id: UUID, change: Change) -> Answer:
    """The order is changed as the command demands, once, or was so already."""
    async with log.stream_lock(order_id):
        remembered = log.remembered(order_id)
        for _ in range(limits.DECIDE_ATTEMPTS_MAX):
            fresh = remembered is None
            order = remembered or await log.read(order_id)
            remembered = None
            try:
                if order is None:
                    raise OrderNotFound
                change.check_visible(order)
                if _is_repeat(order, change.metadata) and not fresh:
                    continue
                first_answer = await _first_answer(log, order, change.metadata, creation=False)
                if first_answer:
                    return first_answer
                events = change.decide(order)
            except OrderServiceError as error:
                if not fresh:
                    continue
                await _add_events_since(log, order, change, error)
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
                last_conflict = conflict
        raise last_conflict


async def preview_change(log: EventLog, order_id: UUID, change: Change, at: datetime) -> Preview:
    """The order as `change_order` would change it. Raises what that would raise; a dry run has no
    key, so no repeats."""
    order = await log.read(order_id)
    if order is None:
        raise OrderNotFound
    change.check_visible(order)
    try:
        events = change.decide(order)
    except OrderServiceError as error:
        await _add_events_since(log, order, change, error)
        raise
    if not events:
        return Preview(order, ())
    return Preview(*log.preview(Append(order_id, order, events, change.metadata), at))


async def _add_events_since(
    log: EventLog, order: FoldedOrder | None, change: Change, error: OrderServiceError
) -> None:
    """Adds to a StaleVersion the events since the client's version, as the timeline shows them."""
    if order is None or not isinstance(error, StaleVersion):
        return
    client_version = change.precondition.known_version(order)
    after = max(client_version, order.version - limits.EVENTS_SINCE_MAX)
    viewer: Literal["owner", "staff"] = (
        "staff" if change.metadata.actor_type == "staff" else "owner"
    )
    since: list[dict[str, Any]] = []
    for stored in await log.events(order.id, after, order.version):
        event = event_for(viewer, stored, order.order.currency)
        if event is not None:
            since.append({"type": event.type, "actor": event.actor, "at": event.at})
    error.facts["events_since"] = to_builtins(since)


# --- repeats --------------------------------------------------------------------------------------


def _is_repeat(order: FoldedOrder, metadata: Metadata) -> bool:
    return (metadata.actor_id, metadata.key, False) in order.commands


def earlier_execution(
    order: FoldedOrder, metadata: Metadata, *, creation: bool
) -> AnsweredCommand | None:
    """The earlier execution of the same command in this stream. Raises InvalidRequest if the key
    was used for another request."""
    if metadata.key is None or metadata.actor_id is None:
        return None
    answered = order.commands.get((metadata.actor_id, metadata.key, creation))
    if answered is not None and answered.fingerprint != metadata.fingerprint:
        raise InvalidRequest(
            "idempotency-key-reused",
            "This Idempotency-Key was used for another request: take a new key for a new request.",
        )
    return answered


async def _first_answer(
    log: EventLog, order: FoldedOrder | None, metadata: Metadata, *, creation: bool
) -> Answer | None:
    """The first answer to the command, if this stream proves that it was executed before."""
    answered = order and earlier_execution(order, metadata, creation=creation)
    if order is None or answered is None:
        return None
    REPLAYS.inc()
    await log.refresh([order])
    if answered.version == order.version:
        return Answer(order, replayed=True)
    answered_order = await log.read(order.id, up_to_version=answered.version)
    assert answered_order is not None
    return Answer(answered_order, replayed=True)
