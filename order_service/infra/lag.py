"""SQL for how far the relay and the read models are behind the log."""

# One row per checkpoint in use: the relay's and those of the live generations. `waiting_since`:
# when the oldest event after the checkpoint was recorded; NULL if there is none.
CHECKPOINTS_IN_USE = (
    "SELECT c.name, c.generation, c.partition, p.position AS head, c.position AS checkpoint, "
    "(SELECT e.recorded_at FROM events e WHERE e.partition = c.partition "
    "AND e.position = c.position + 1) AS waiting_since, m.projection_version "
    "FROM checkpoints c JOIN partitions p ON p.partition = c.partition "
    "LEFT JOIN read_models m ON m.name = c.name "
    "WHERE c.name = 'relay' OR c.generation = m.live_generation"
)
