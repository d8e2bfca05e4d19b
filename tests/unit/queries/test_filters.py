"""Filters of lists: equal filters have equal texts, so cursors hold however they were written."""

from typing import Any, get_args
from uuid import UUID

import pytest
from pydantic import ValidationError

from order_service import limits
from order_service.domain.state import FulfillmentStatus, PaymentStatus, Status
from order_service.web.fields import TEXT_MAX
from projections.queries.filters import Contacts, Filters, ListParameters, conditions
from tests.support.log.examples import USER

SAME = [
    ({"status": "PAID,PENDING"}, {"status": "PENDING, PAID,PAID"}),
    ({"created_from": "2026-03-01T12:00:00Z"}, {"created_from": "2026-03-01t14:00:00.0+02:00"}),
    ({"currency": "USD", "total_min": "5"}, {"total_min": "5.00", "currency": "USD"}),
    ({"currency": "USD", "total_min": "9.9900"}, {"total_min": "9.99", "currency": "USD"}),
    ({"q": "pen"}, {"q": " pen "}),
    ({}, {"limit": "7", "cursor": "abc", "sort": "-created_at"}),
]
OTHER = [
    {"status": "PAID"},
    {"payment_status": "PAID"},
    {"fulfillment_status": "SHIPPED"},
    {"created_from": "2026-03-01T12:00:00Z"},
    {"created_to": "2026-03-01T12:00:00Z"},
    {"updated_from": "2026-03-01T12:00:00Z"},
    {"updated_to": "2026-03-01T12:00:00Z"},
    {"currency": "USD"},
    {"currency": "USD", "total_min": "5"},
    {"currency": "USD", "total_max": "5"},
    {"has_credit_due": "true"},
    {"has_credit_due": "false"},
    {"return_open": "true"},
    {"prices_trusted": "false"},
    {"on_hold": "true"},
    {"tag": "gift"},
    {"metadata.channel": "web"},
    {"metadata.channel": "web", "metadata.key": "web"},
    {"refund_failed": "false"},
    {"q": "5"},
    {"sort": "created_at"},
]


def parsed(asked: dict[str, Any]) -> ListParameters:
    return ListParameters.model_validate(asked)


@pytest.mark.parametrize(("one", "same"), SAME)
def test_the_same_filters_have_the_same_text(one: dict[str, Any], same: dict[str, Any]) -> None:
    assert parsed(one).text() == parsed(same).text()


def test_different_filters_have_different_texts() -> None:
    texts = {parsed(asked).text() for asked in [{}, *OTHER]}

    assert len(texts) == 1 + len(OTHER)


def test_every_filter_makes_a_condition() -> None:
    """A list that ignores a filter would show orders that do not match."""
    everything = conditions(parsed({}))

    assert [a for a in OTHER[:-1] if conditions(parsed(a)).sql == everything.sql] == []
    asked_for = {name.partition(".")[0] for asked in OTHER[:-1] for name in asked}
    assert set(Filters.model_fields) == asked_for
    assert conditions(parsed({}), user_id=USER).parameters == {"user_id": USER}


@pytest.mark.parametrize(
    ("q", "parameters"),
    [
        ("PEN", {"term"}),
        ("A-1000", {"term", "number_from", "number_to"}),
        ("A-100", {"term"}),
        ("a-10-", {"term", "number_from", "number_to"}),
        ("a-", {"term"}),
        ("A-10-77", {"term"}),
    ],
)
def test_a_search_has_conditions_only_for_what_its_text_can_match(
    q: str, parameters: set[str]
) -> None:
    assert set(conditions(parsed({"q": q})).parameters) == parameters
    with_user = conditions(parsed({"q": q}), contacts=Contacts(UUID(int=1)))
    assert set(with_user.parameters) == parameters | {"searched_user"}
    with_orders = conditions(parsed({"q": q}), contacts=Contacts(None, [UUID(int=1)], [1]))
    assert set(with_orders.parameters) == parameters | {"searched", "searched_partitions"}


@pytest.mark.parametrize(
    ("name", "statuses"),
    [
        ("status", Status),
        ("payment_status", PaymentStatus),
        ("fulfillment_status", FulfillmentStatus),
    ],
)
def test_lists_can_be_filtered_by_every_status_of_the_domain(name: str, statuses: Any) -> None:
    found = [getattr(parsed({name: status}), name) for status in get_args(statuses)]

    assert found == [*get_args(statuses)]
    with pytest.raises(ValidationError, match=get_args(statuses)[0]):
        parsed({name: "LOST"})


def test_a_search_text_may_be_as_long_as_the_longest_searchable_value() -> None:
    longest = "x" * max(TEXT_MAX, limits.EMAIL_LENGTH_MAX)

    assert parsed({"q": longest}).q == longest
