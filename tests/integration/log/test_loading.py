"""Bulk loading of whole orders follows the same rules and keys as single commands."""

from uuid import UUID, uuid4

import pytest
from msgspec.structs import asdict
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service import limits
from order_service.documents.order import order_document
from order_service.domain.commands import OrderCommand
from order_service.domain.parts import OrderLine
from order_service.errors import InvalidRequest, RuleViolation, VersionConflict
from order_service.log.codec import Metadata
from order_service.log.event_log import EventLog
from tests.support.log.event_log import assert_dense, changed, placed
from tests.support.log.examples import BY_USER, USER, placing, to_status
from tests.support.values import replace
from tests.tools.benchmarks.bulk_load import Step, load_order


def under(key: str) -> Metadata:
    return replace(BY_USER, key=key, fingerprint="as loaded")


def life(*commands: OrderCommand) -> list[Step]:
    return [Step(command, under(f"key {n}")) for n, command in enumerate(commands)]


LIFE = life(placing(), to_status("PAID"), to_status("SHIPPED"))


async def test_a_loaded_order_equals_the_order_after_single_commands(
    log: EventLog, web_engine: AsyncEngine
) -> None:
    order_id, other_id = uuid4(), uuid4()
    await placed(log, other_id, placing(), under("key 0"))
    for n, to in enumerate(("PAID", "SHIPPED"), start=1):
        one_by_one = (await changed(log, other_id, to_status(to), under(f"key {n}"))).order

    loaded = await load_order(log, order_id, LIFE)

    assert loaded == await log.read(order_id)
    assert (loaded.order, loaded.commands) == (one_by_one.order, one_by_one.commands)
    different = ("id", "number", "created_at", "updated_at")
    shown, expected = asdict(order_document(loaded)), asdict(order_document(one_by_one))
    assert {k: shown[k] for k in shown if k not in different} == {
        k: expected[k] for k in expected if k not in different
    }
    await assert_dense(web_engine, events=10)


async def test_an_order_is_not_loaded_twice(log: EventLog, web_engine: AsyncEngine) -> None:
    order_id = uuid4()
    command = placing(reference="basket 1")
    await load_order(log, order_id, life(command, to_status("PAID")))

    again = await load_order(log, order_id, life(command, to_status("PAID")))
    longer = await load_order(log, order_id, life(command, to_status("PAID"), to_status("SHIPPED")))

    assert (again.version, longer.version) == (3, 5)
    assert longer == await log.read(order_id)
    await assert_dense(web_engine, events=5)


async def test_other_commands_with_the_same_keys_are_refused(log: EventLog) -> None:
    order_id = uuid4()
    await load_order(log, order_id, LIFE)
    other = [Step(step.command, replace(step.metadata, fingerprint="other")) for step in LIFE]
    unknown = [Step(step.command, replace(step.metadata, key="unknown")) for step in LIFE]

    with pytest.raises(InvalidRequest) as reused:
        await load_order(log, order_id, other)
    with pytest.raises(VersionConflict):
        await load_order(log, order_id, unknown)

    assert reused.value.code == "idempotency-key-reused"


@pytest.mark.parametrize(
    ("refused", "code"),
    [
        (life(placing(), to_status("DELIVERED")), "invalid-transition"),
        (life(placing(reference="taken")), "duplicate-reference"),
        (life(placing(total_price_minor=1)), "total-mismatch"),
    ],
)
async def test_a_refused_load_stores_nothing(
    log: EventLog, web_engine: AsyncEngine, refused: list[Step], code: str
) -> None:
    await load_order(log, uuid4(), life(placing(reference="taken")))
    order_id = uuid4()

    with pytest.raises((RuleViolation, InvalidRequest)) as caught:
        await load_order(log, order_id, refused)

    assert caught.value.code == code
    assert await log.read(order_id) is None
    await assert_dense(web_engine, events=1)


async def test_a_load_is_bounded_in_bytes(log: EventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "APPEND_BATCH_BYTES_MAX", 1_000)
    lines = tuple(OrderLine(n, "PEN", "x" * 100, 1, 1) for n in range(1, 10))

    with pytest.raises(InvalidRequest) as caught:
        await load_order(log, UUID(int=USER.int + 1), life(placing(*lines)))

    assert caught.value.code == "content-too-large"
