"""Stores the whole life of an order with one append.

The rules, expected versions and keys are those of commands that come one by one; the cost is a
fraction, since an order's commands share one append, and the appender batches concurrent appends.
"""

from collections.abc import Sequence
from uuid import UUID

from order_service import limits
from order_service.commands.handler import earlier_execution
from order_service.domain.commands import OrderCommand, PlaceOrder
from order_service.domain.events import OrderEvent
from order_service.domain.immutable import immutable
from order_service.domain.order import decide, evolve
from order_service.errors import InvalidRequest, RuleViolation, VersionConflict
from order_service.log.append import Append
from order_service.log.codec import Metadata
from order_service.log.event_log import EventLog
from order_service.log.fold import FoldedOrder


@immutable
class Step:
    """A command of a life. Its key and fingerprint prove that it was carried out before."""

    command: OrderCommand
    metadata: Metadata


async def load_order(log: EventLog, order_id: UUID, steps: Sequence[Step]) -> FoldedOrder:
    """The order has lived through all steps, once: what its stream does not prove yet is stored,
    all of it or, if one step is refused, nothing.

    `steps`: the first places the order. Raises what the commands would raise one by one.
    """
    async with log.stream_lock(order_id):
        order: FoldedOrder | None = None
        for attempt in range(limits.DECIDE_ATTEMPTS_MAX):
            try:
                append = _append(order_id, order, steps)
                if append is not None:
                    return await log.append(append)
                if order is not None:
                    return order
            except (VersionConflict, RuleViolation, InvalidRequest) as error:
                # Most orders are new, so only now it is looked whether this one is.
                if attempt > 0 and not isinstance(error, VersionConflict):
                    raise
                refused = error
            order = await log.read(order_id)
        raise refused


def _append(order_id: UUID, before: FoldedOrder | None, steps: Sequence[Step]) -> Append | None:
    """What is left to be stored; None: nothing."""
    order = before.order if before else None
    events: list[OrderEvent] = []
    metadata: list[Metadata] = []
    for place, step in enumerate(steps):
        assert step.metadata.key is not None, "or a repeat would not be known"
        if before and earlier_execution(before, step.metadata, creation=place == 0):
            continue
        if before and place == 0:
            raise VersionConflict(order_id, 0, before.version)
        for event in decide(step.command, order):
            order = evolve(order, event)
            events.append(event)
            metadata.append(step.metadata)
    if not events:
        return None
    claim = _claim(steps[0].command) if before is None else None
    return Append(order_id, before, tuple(events), tuple(metadata), claim, after=order)


def _claim(command: OrderCommand) -> tuple[UUID, str] | None:
    assert isinstance(command, PlaceOrder), "a life begins with the order"
    reference = command.external_reference
    return None if reference is None else (command.user_id, reference)
