"""The log: events, the partitions' counters, the append function, checkpoints, and the database roles that use them."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# Roles belong to the whole server, so another database's migration may have made them already.
ROLES = """
DO $$ BEGIN CREATE ROLE order_web NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
DO $$ BEGIN CREATE ROLE order_projector NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
GRANT order_web, order_projector TO CURRENT_USER;
GRANT USAGE ON SCHEMA public TO order_web, order_projector;
"""

TABLES = """
-- One row a partition: the last assigned position. Appends lock it, so positions are dense and commit in order.
-- Every append rewrites the row: mostly empty pages let each new version stay on its page (HOT).
CREATE TABLE partitions (
    partition   smallint PRIMARY KEY,
    position    bigint NOT NULL DEFAULT 0 CHECK (position >= 0),
    recorded_at timestamptz NOT NULL DEFAULT 'epoch'
) WITH (fillfactor = 20, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0);

CREATE TABLE events (
    position       bigint NOT NULL CHECK (position > 0),
    recorded_at    timestamptz NOT NULL,
    stream_id      uuid NOT NULL,
    event_id       uuid NOT NULL,
    version        integer NOT NULL CHECK (version > 0),
    partition      smallint NOT NULL,  -- no foreign key: append checks it once a batch instead of once a row
    schema_version smallint NOT NULL CHECK (schema_version > 0),
    type           text NOT NULL,
    -- json, not jsonb: no statement looks inside. PostgreSQL reads the stored text in a third of the time (2 instead of
    -- 7 us an event), stores it in less space and returns it unchanged. The check casts to jsonb because json accepts
    -- U+0000, which no function can read.
    data           json NOT NULL CHECK (strpos(data::text, '\\u0000') = 0 OR data::jsonb IS NOT NULL),
    metadata       json NOT NULL,  -- an array: every event has one, and member names would be half of its size
    PRIMARY KEY (partition, stream_id, version),
    UNIQUE (partition, position)
) WITH (
    -- Vacuum works in small steps and freezes a row at its first visit; rows never change, so it visits each once.
    autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_freeze_min_age = 0
);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% on % is refused: recorded events never change', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER events_never_change BEFORE UPDATE OR DELETE OR TRUNCATE ON events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Free text of customers and staff. Events only refer to it, so that it can be erased.
CREATE TABLE order_texts (
    text_id     uuid PRIMARY KEY,
    order_id    uuid NOT NULL,
    kind        text NOT NULL,
    body        text NOT NULL,
    recorded_at timestamptz NOT NULL
);

CREATE TABLE external_references (
    user_id   uuid NOT NULL,
    reference text NOT NULL,
    order_id  uuid NOT NULL,
    PRIMARY KEY (user_id, reference)
);

-- The last position that the relay, and every generation of every projection, has finished in a partition.
CREATE TABLE checkpoints (
    name             text NOT NULL,
    generation       integer NOT NULL,
    partition        smallint NOT NULL REFERENCES partitions,
    position         bigint NOT NULL DEFAULT 0 CHECK (position >= 0),
    moved_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    leased_by        uuid,
    leased_until     timestamptz,
    suspect_position bigint,
    suspect_tries    smallint NOT NULL DEFAULT 0,
    PRIMARY KEY (name, generation, partition)
) WITH (fillfactor = 20, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0);
"""

# One call appends one batch of commands. c_* has one element a command, e_* one an event, r_* one a reference that a
# new order claims, t_* one a free text; e_command, r_command and t_command are indexes into c_* (from 1). The counters
# are locked first and in order, so two batches never deadlock. Each later statement takes a snapshot younger than the
# lock (VOLATILE, READ COMMITTED), so what it reads of these partitions is final. There are no joins on purpose: array
# subscripts keep the time under the lock linear in the batch. If every command finds the version that it expects, as
# nearly all do, the statement that judges them is left out: it took a quarter of an append of 28 commands.
APPEND = """
CREATE FUNCTION append(
    c_partition smallint[], c_stream uuid[], c_expected integer[], c_events integer[],
    e_command integer[], e_version integer[], e_id uuid[], e_type text[], e_schema smallint[],
    e_data text[], e_metadata text[],
    r_command integer[], r_user uuid[], r_reference text[],
    t_command integer[], t_id uuid[], t_kind text[], t_body text[]
) RETURNS TABLE (outcome text, version integer, "position" bigint, recorded_at timestamptz)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = public, pg_temp
SET enable_seqscan = off
SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    counter record;
    heads bigint[];     -- by partition, the last position given out
    now_ timestamptz;   -- the clock, or the youngest event of these partitions if that is ahead of it
    founds integer[];   -- the stream's version before this batch
    outcomes text[];    -- won | repeated | lost | duplicate-reference
    firsts bigint[];    -- position of the command's first event; 0 where it lost
    times timestamptz[];
BEGIN
    -- NO KEY: excludes other appends, not the key checks of tables that refer to partitions
    FOR counter IN SELECT p.partition, p.position, p.recorded_at FROM partitions p WHERE p.partition = ANY (c_partition)
        ORDER BY p.partition FOR NO KEY UPDATE
    LOOP
        heads[counter.partition] := counter.position;
        now_ := greatest(now_, counter.recorded_at);
    END LOOP;
    now_ := greatest(now_, clock_timestamp());

    founds := ARRAY(SELECT coalesce((SELECT max(e.version) FROM events e
                                     WHERE e.partition = c.partition AND e.stream_id = c.stream), 0)
                    FROM unnest(c_partition, c_stream) WITH ORDINALITY AS c (partition, stream, ord) ORDER BY c.ord);
    IF founds = c_expected AND cardinality(r_command) = 0
       AND (SELECT count(DISTINCT c.stream) FROM unnest(c_stream) AS c (stream)) = cardinality(c_stream)
    THEN
        outcomes := array_fill('won'::text, ARRAY[cardinality(c_stream)]);
        times := array_fill(now_, ARRAY[cardinality(c_stream)]);
    ELSE
        WITH judged AS (
            SELECT c.*, r.user_id, r.reference, s.position AS repeat_position, s.recorded_at AS repeat_at,
                   c.found = c.expected AND row_number() OVER (
                       PARTITION BY c.stream, c.found = c.expected ORDER BY c.ord) = 1 AS fits
            FROM unnest(c_partition, c_stream, c_expected, founds) WITH ORDINALITY
                 AS c (partition, stream, expected, found, ord)
            LEFT JOIN unnest(r_command, r_user, r_reference) AS r (command, user_id, reference) ON r.command = c.ord
            LEFT JOIN LATERAL (
                SELECT e.position, e.recorded_at FROM events e
                WHERE c.found > c.expected AND e.partition = c.partition AND e.stream_id = c.stream
                  AND e.version = c.expected + 1 AND e.event_id = (
                      SELECT f.id FROM unnest(e_command, e_version, e_id) AS f (command, version, id)
                      WHERE f.command = c.ord AND f.version = e.version)) s ON true
        ), claimed AS (
            INSERT INTO external_references (user_id, reference, order_id)
            SELECT DISTINCT ON (j.user_id, j.reference) j.user_id, j.reference, j.stream
            FROM judged j WHERE j.fits AND j.reference IS NOT NULL
            ORDER BY j.user_id, j.reference, j.ord
            ON CONFLICT DO NOTHING
            RETURNING order_id
        ), won AS (
            SELECT j.*, j.fits AND (j.reference IS NULL OR j.stream IN (SELECT order_id FROM claimed)) AS wins
            FROM judged j
        )
        SELECT array_agg(CASE WHEN wins THEN 'won' WHEN repeat_position IS NOT NULL THEN 'repeated'
                              WHEN fits THEN 'duplicate-reference' ELSE 'lost' END ORDER BY ord),
               array_agg(coalesce(repeat_position, 0) ORDER BY ord),
               array_agg(coalesce(repeat_at, now_) ORDER BY ord)
        INTO outcomes, firsts, times FROM won;
    END IF;

    FOR command IN 1 .. cardinality(c_stream) LOOP
        IF heads[c_partition[command]] IS NULL THEN
            RAISE EXCEPTION 'append: unknown partition %', c_partition[command];
        END IF;
        IF outcomes[command] = 'won' THEN
            firsts[command] := heads[c_partition[command]] + 1;
            heads[c_partition[command]] := heads[c_partition[command]] + c_events[command];
        END IF;
    END LOOP;

    INSERT INTO events (partition, position, stream_id, version, event_id, type, schema_version, data, metadata,
                        recorded_at)
    SELECT c_partition[e.command], firsts[e.command] + e.version - c_expected[e.command] - 1, c_stream[e.command],
           e.version, e.id, e.type, e.schema, e.data::json, e.metadata::json, now_
    FROM unnest(e_command, e_version, e_id, e_type, e_schema, e_data, e_metadata)
         AS e (command, version, id, type, schema, data, metadata)
    WHERE outcomes[e.command] = 'won';

    IF cardinality(t_command) > 0 THEN
        INSERT INTO order_texts (text_id, order_id, kind, body, recorded_at)
        SELECT t.id, c_stream[t.command], t.kind, t.body, now_
        FROM unnest(t_command, t_id, t_kind, t_body) AS t (command, id, kind, body)
        WHERE outcomes[t.command] = 'won';
    END IF;

    UPDATE partitions p SET position = heads[p.partition], recorded_at = now_
    WHERE p.partition = ANY (c_partition) AND p.position < heads[p.partition];

    RETURN QUERY
    SELECT r.outcome, CASE WHEN r.outcome IN ('won', 'repeated') THEN r.expected + r.events ELSE r.found END,
           r.first_position, r.at
    FROM unnest(outcomes, c_expected, c_events, founds, firsts, times) WITH ORDINALITY
         AS r (outcome, expected, events, found, first_position, at, ord)
    ORDER BY r.ord;
END $$;
"""

RIGHTS = """
REVOKE ALL ON FUNCTION append FROM PUBLIC;
GRANT EXECUTE ON FUNCTION append TO order_web;
GRANT SELECT ON partitions, events, order_texts, external_references, checkpoints TO order_web;
GRANT SELECT ON partitions, events TO order_projector;
GRANT SELECT, INSERT, UPDATE, DELETE ON checkpoints TO order_projector;
"""


def upgrade() -> None:
    partitions = op.get_context().config.attributes["partitions"]  # type: ignore[union-attr]
    for script in (ROLES, TABLES, APPEND, RIGHTS):
        for statement in _statements(script):
            op.execute(statement)
    op.execute(
        f"INSERT INTO partitions (partition) SELECT generate_series(0, {int(partitions) - 1})"
    )
    op.execute(
        "INSERT INTO checkpoints (name, generation, partition) SELECT 'relay', 0, partition FROM partitions"
    )


def downgrade() -> None:
    op.execute("DROP FUNCTION append")
    op.execute("DROP TABLE checkpoints, external_references, order_texts, events, partitions")
    op.execute("DROP FUNCTION refuse_change")
    # The roles stay: other databases on the server may use them.


def _statements(script: str) -> list[str]:
    """The script's statements, split outside of $$ bodies: asyncpg can only prepare one statement at a time."""
    statements, body, quoted = [], "", False
    for piece in script.replace("$$", "\0$$\0").split("\0"):
        if piece == "$$":
            quoted, body = not quoted, body + piece
        elif quoted:
            body += piece
        else:
            *whole, rest = piece.split(";\n")
            for part in whole:
                statements.append(body + part)
                body = ""
            body += rest
    return [s for s in [*statements, body] if s.strip()]
