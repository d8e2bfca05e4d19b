"""Commands, from the question to the answer. May import the domain, log and errors.

A command is decided on the order as this process remembers it, and the append proves by its
expected version that nobody moved the order on. Whatever appends nothing (a refusal, a repeat, a
no-op, a stale precondition) is decided on a freshly read stream: memory may be behind.
"""

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from order_service import settings as limits
from order_service.domain.commands import OrderCommand, PlaceOrder
from order_service.domain.events import OrderEvent
from order_service.domain.order import decide
from order_service.errors import (
    InvalidRequest,
    OrderNotFound,
    OrderServiceError,
    RuleViolation,
    VersionConflict,
)
from order_service.log.appends import Append, OrderText
from order_service.log.codec import Metadata
from order_service.log.event_log import EventLog
from order_service.log.fold import FoldedOrder


@dataclass(frozen=True, slots=True)
class Answer:
    """`order` as of the command's last version; `replayed`: a repeat, nothing was appended."""

    order: FoldedOrder
    replayed: bool = False


async def place_order(
    log: EventLog, order_id: UUID, command: PlaceOrder, metadata: Metadata
) -> Answer:
    """The order is in the log, once; or it was already, under the same key."""
    async with log.turn(order_id):
        try:
            events = decide(command, None)
            return Answer(await log.append(_creation(order_id, command, events, metadata)))
        except (VersionConflict, InvalidRequest, RuleViolation):
            # Looked up only now: the id follows from the key, so a repeat cannot be appended twice.
            earlier = metadata.key and await _repeat(log, await log.read(order_id), metadata)
            if not earlier:
                raise
            return earlier


def _creation(
    order_id: UUID, command: PlaceOrder, events: tuple[OrderEvent, ...], metadata: Metadata
) -> Append:
    reference = command.external_reference
    claim = None if reference is None else (command.user_id, reference)
    return Append(order_id, None, events, metadata, claim)


async def change_order(
    log: EventLog,
    order_id: UUID,
    command: OrderCommand,
    metadata: Metadata,
    *,
    check: Callable[[FoldedOrder], None],
    authorize: Callable[[], None],
    precondition: Callable[[FoldedOrder], None] = lambda order: None,
    texts: tuple[OrderText, ...] = (),
) -> Answer:
    """The order has changed as `command` asks, once, or stands so already.

    `check` raises if the caller may not see the order, `authorize` if it may not do this to one;
    `precondition` if the order is not at a version that the client insists on. They are asked in
    the HTTP contract's order: visibility, repeat, role, precondition, rules. What they raise is an
    `OrderServiceError`: anything else would end the command on an order that may be out of date.
    """
    async with log.turn(order_id):
        remembered = log.remembered(order_id)
        for _ in range(limits.DECIDE_ATTEMPTS_MAX):
            fresh = remembered is None
            order = remembered or await log.read(order_id)
            remembered = None
            try:
                if order is None:
                    raise OrderNotFound(order_id)
                check(order)
                if _is_repeat(order, metadata) and not fresh:
                    continue
                earlier = await _repeat(log, order, metadata)
                if earlier:
                    return earlier
                authorize()
                precondition(order)
                events = decide(command, order.order)
            except OrderServiceError as error:
                if not fresh:
                    continue
                if isinstance(error, RuleViolation) and order:
                    error.facts["current_version"] = order.version
                raise
            if not events:
                if not fresh:
                    continue
                await log.refresh([order])
                return Answer(order)
            try:
                return Answer(
                    await log.append(Append(order_id, order, events, metadata, texts=texts))
                )
            except VersionConflict as conflict:
                lost = conflict
        raise lost


def _is_repeat(order: FoldedOrder, metadata: Metadata) -> bool:
    return (metadata.actor_id, metadata.key) in order.commands


async def _repeat(log: EventLog, order: FoldedOrder | None, metadata: Metadata) -> Answer | None:
    """The first answer again, if this stream proves that the command was carried out before."""
    if order is None or metadata.key is None or metadata.actor_id is None:
        return None
    answered = order.commands.get((metadata.actor_id, metadata.key))
    if answered is None:
        return None
    if answered.fingerprint != metadata.fingerprint:
        raise InvalidRequest(
            "idempotency-key-reused",
            "This Idempotency-Key was used for another request: take a new key for a new request.",
        )
    await log.refresh([order])
    if answered.version == order.version:
        return Answer(order, replayed=True)
    then = await log.read(order.id, up_to_version=answered.version)
    assert then is not None
    return Answer(then, replayed=True)
