"""given(*events).when(command).then(*events), or .then_refused(Error, code): the decider's
tests."""

from dataclasses import dataclass
from functools import reduce

import pytest

from order_service.domain.commands import OrderCommand
from order_service.domain.events import OrderEvent
from order_service.domain.order import decide, evolve, initial
from order_service.domain.state import Order
from order_service.errors import OrderServiceError


@dataclass(frozen=True)
class Given:
    events: tuple[OrderEvent, ...]

    @property
    def order(self) -> Order:
        order = reduce(evolve, self.events, initial)
        assert order is not None
        return order

    def when(self, command: OrderCommand) -> "When":
        return When(self, command)


@dataclass(frozen=True)
class When:
    given: Given
    command: OrderCommand

    def then(self, *events: OrderEvent) -> None:
        assert decide(self.command, reduce(evolve, self.given.events, initial)) == events

    def then_refused(self, error: type[OrderServiceError], code: str, **facts: object) -> None:
        with pytest.raises(error) as caught:
            decide(self.command, reduce(evolve, self.given.events, initial))
        assert caught.value.code == code
        assert {name: caught.value.facts.get(name) for name in facts} == facts


def given(*events: OrderEvent) -> Given:
    return Given(events)
