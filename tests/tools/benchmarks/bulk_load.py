"""Stores all commands of an order with one append.

Rules, expected versions and keys are those of single commands. The cost is a fraction, since an
order's commands share one append, and the appender batches concurrent appends.
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
    """A command of an order. A stored event with its key and fingerprint proves that it was
    executed.
    """

    command: OrderCommand
    metadata: Metadata


async def load_order(log: EventLog, order_id: UUID, steps: Sequence[Step]) -> FoldedOrder:
    """Executes the steps that the order's stream does not prove yet: all of them or, if one is
    refused, none. So each step takes effect once.

    `steps`: the first places the order. Raises the errors of the single commands.
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
                # Most orders are new, so the stream is read only after a failure.
                if attempt > 0 and not isinstance(error, VersionConflict):
                    raise
                refused = error
            order = await log.read(order_id)
        raise refused


def _append(order_id: UUID, before: FoldedOrder | None, steps: Sequence[Step]) -> Append | None:
    """The append of the steps that are not stored yet; None: there are none."""
    order = before.order if before else None
    events: list[OrderEvent] = []
    metadata: list[Metadata] = []
    for index, step in enumerate(steps):
        assert step.metadata.key is not None, "a repeat is recognised by its key"
        if before and earlier_execution(before, step.metadata, creation=index == 0):
            continue
        if before and index == 0:
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
    assert isinstance(command, PlaceOrder), "the first step places the order"
    reference = command.external_reference
    return None if reference is None else (command.user_id, reference)
