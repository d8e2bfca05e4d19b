"""The dead letters of the live generations, as operators see them. May import the registry."""

from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from order_service import limits
from order_service.ids import order_number

_LETTERS = text(
    "SELECT d.name, d.generation, d.partition, d.stream_id, d.position, d.version, d.error, "
    "d.attempts, d.parked_at, e.type, p.position AS placed_at, "
    "(SELECT max(n.version) FROM events n WHERE n.partition = d.partition "
    "AND n.stream_id = d.stream_id) - d.version + 1 AS waiting "
    "FROM dead_letters d JOIN read_models m ON m.name = d.name "
    "AND m.live_generation = d.generation "
    "JOIN events e ON e.partition = d.partition AND e.stream_id = d.stream_id "
    "AND e.version = d.version "
    "JOIN events p ON p.partition = d.partition AND p.stream_id = d.stream_id AND p.version = 1 "
    "WHERE d.name = coalesce(:name, d.name) ORDER BY d.parked_at, d.stream_id LIMIT :limit"
)


async def read(connection: AsyncConnection, name: str | None, partitions: int) -> dict[str, Any]:
    """For `GET /ops/dead-letters/`; `name`: of one read model only."""
    limit = limits.DEAD_LETTERS_LISTED_MAX
    rows = (await connection.execute(_LETTERS, {"name": name, "limit": limit + 1})).all()
    items = [
        {
            "id": f"{row.name}.{row.stream_id}",
            "projection": row.name,
            "generation": row.generation,
            "partition": row.partition,
            "position": row.position,
            "order_id": str(row.stream_id),
            "number": order_number(row.placed_at, row.partition, partitions),
            "event_type": row.type,
            "version": row.version,
            "error": row.error,
            "attempts": row.attempts,
            "parked_at": row.parked_at,
            "events_waiting": row.waiting,
        }
        for row in rows[:limit]
    ]
    return {"items": items, "more": len(rows) > limit}
