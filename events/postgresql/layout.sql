-- The log {schema}: one commit is one row, with the JSON line of a dump as its body. `json` keeps the line's bytes.
-- No waiting for another session's lock may hold up a broker for long.
SET LOCAL lock_timeout = '{lock_ms}ms';

CREATE SCHEMA IF NOT EXISTS {schema};

CREATE TABLE IF NOT EXISTS {schema}.meta (
    is_only_row boolean PRIMARY KEY DEFAULT true CHECK (is_only_row),
    format int NOT NULL,
    epoch text NOT NULL,
    base_position bigint NOT NULL DEFAULT 0, -- the commits up to here are trimmed
    base_id text NOT NULL DEFAULT '',
    redacted_to bigint NOT NULL DEFAULT 0,
    recorded_after bigint NOT NULL DEFAULT 0, -- deliveries of commits up to here may not be recorded
    probes bigint NOT NULL DEFAULT 0
);

-- The secret of the sessions stands apart, so that reading the log needs no right to it.
CREATE TABLE IF NOT EXISTS {schema}.secret (is_only_row boolean PRIMARY KEY DEFAULT true CHECK (is_only_row), value bytea NOT NULL);

-- The events of a commit that open and close a room; at most one of each.
CREATE OR REPLACE FUNCTION {schema}.event_of(body json, kind text) RETURNS json LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT event FROM pg_catalog.json_array_elements(body -> 'events') AS event WHERE event ->> 'type' = kind LIMIT 1
$$;
-- What a person wrote, or null where it was redacted.
CREATE OR REPLACE FUNCTION {schema}.written(value json) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE pg_catalog.json_typeof(value) WHEN 'string' THEN value #>> '{}' END
$$;

CREATE TABLE IF NOT EXISTS {schema}.commits (
    position bigint PRIMARY KEY,
    commit_id text NOT NULL,
    body json NOT NULL,
    at timestamptz NOT NULL GENERATED ALWAYS AS (to_timestamp((body ->> 'at_ms')::bigint / 1000.0)) STORED,
    type text NOT NULL GENERATED ALWAYS AS (body #>> '{command,type}') STORED,
    connection_id text GENERATED ALWAYS AS (body #>> '{command,connection_id}') STORED,
    room_id text GENERATED ALWAYS AS (body #>> '{command,room_id}') STORED,
    opened text GENERATED ALWAYS AS (
        CASE WHEN body #>> '{command,type}' <> 'send_message' THEN {schema}.event_of(body, 'room_opened') ->> 'room_id' END
    ) STORED,
    closed text GENERATED ALWAYS AS (
        CASE WHEN body #>> '{command,type}' <> 'send_message' THEN {schema}.event_of(body, 'room_closed') ->> 'room_id' END
    ) STORED
);
-- The clause IF NOT EXISTS would block the appends of a log that has them all.
DO $indexes$ BEGIN
    IF to_regclass('{schema}.commits_at') IS NULL THEN
        CREATE INDEX commits_at ON {schema}.commits (at, position);
    END IF;
    IF to_regclass('{schema}.commits_by_connection') IS NULL THEN
        CREATE INDEX commits_by_connection ON {schema}.commits (connection_id, position) WHERE connection_id IS NOT NULL;
    END IF;
    IF to_regclass('{schema}.messages_by_room') IS NULL THEN
        CREATE INDEX messages_by_room ON {schema}.commits (room_id, position) WHERE type = 'send_message';
    END IF;
    IF to_regclass('{schema}.rooms_opened') IS NULL THEN
        CREATE INDEX rooms_opened ON {schema}.commits (opened) WHERE opened IS NOT NULL;
    END IF;
    IF to_regclass('{schema}.rooms_closed') IS NULL THEN
        CREATE INDEX rooms_closed ON {schema}.commits (closed) WHERE closed IS NOT NULL;
    END IF;
    IF to_regclass('{schema}.rooms_by_first') IS NULL THEN
        CREATE INDEX rooms_by_first ON {schema}.commits (({schema}.event_of(body, 'room_opened') ->> 'first')) WHERE opened IS NOT NULL;
    END IF;
    IF to_regclass('{schema}.rooms_by_second') IS NULL THEN
        CREATE INDEX rooms_by_second ON {schema}.commits (({schema}.event_of(body, 'room_opened') ->> 'second')) WHERE opened IS NOT NULL;
    END IF;
    IF to_regclass('{schema}.reports_at') IS NULL THEN
        CREATE INDEX reports_at ON {schema}.commits (at) WHERE type = 'report_partner';
    END IF;
END $indexes$;

-- A snapshot counts once it has its digest, which comes last.
CREATE TABLE IF NOT EXISTS {schema}.snapshots (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, position bigint NOT NULL, commit_id text NOT NULL,
    sha256 text, began_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE IF NOT EXISTS {schema}.snapshot_parts (
    snapshot bigint REFERENCES {schema}.snapshots ON DELETE CASCADE, number int, lines text NOT NULL,
    PRIMARY KEY (snapshot, number)
);

CREATE TABLE IF NOT EXISTS {schema}.deliveries (
    position bigint, connection_id text, at_ms bigint, delivered_by text,
    PRIMARY KEY (position, connection_id, at_ms, delivered_by)
);

-- Of the signs of life of a broker, kind 'running', the newest is kept.
CREATE TABLE IF NOT EXISTS {schema}.operations (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, kind text NOT NULL, at_ms bigint NOT NULL, position bigint NOT NULL,
    connection_id text, command text, code text, times int NOT NULL, broker text NOT NULL
);
DO $indexes$ BEGIN
    IF to_regclass('{schema}.operations_running') IS NULL THEN
        CREATE UNIQUE INDEX operations_running ON {schema}.operations (broker) WHERE kind = 'running';
    END IF;
    IF to_regclass('{schema}.operations_refused') IS NULL THEN
        CREATE INDEX operations_refused ON {schema}.operations ((kind = 'refused'), id);
    END IF;
END $indexes$;

-- A field's name may be long and have any characters, so the key has its digest.
CREATE TABLE IF NOT EXISTS {schema}.session_records (
    key text, field_sha256 bytea, field bytea NOT NULL, value bytea NOT NULL, until_ms bigint NOT NULL,
    PRIMARY KEY (key, field_sha256)
);
DO $indexes$ BEGIN
    IF to_regclass('{schema}.session_records_until') IS NULL THEN
        CREATE INDEX session_records_until ON {schema}.session_records (until_ms);
    END IF;
END $indexes$;

INSERT INTO {schema}.meta (format, epoch) VALUES ({format}, left(replace(gen_random_uuid()::text, '-', ''), 16))
    ON CONFLICT DO NOTHING;
INSERT INTO {schema}.secret (value) VALUES (uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))
    ON CONFLICT DO NOTHING;

CREATE OR REPLACE FUNCTION {schema}.tip(OUT "position" bigint, OUT commit_id text) LANGUAGE sql STABLE AS $$
    (SELECT c.position, c.commit_id FROM {schema}.commits c ORDER BY c.position DESC LIMIT 1)
    UNION ALL (SELECT m.base_position, m.base_id FROM {schema}.meta m) LIMIT 1
$$;

-- Answers: 1 stored, 3 stored while another connection has the turn, 2 it had landed, 0 another was first, -1 the log is not the one that the caller knows.
CREATE OR REPLACE FUNCTION {schema}.append(
    after bigint, after_id text, ids text[], lines text[], missed_max int,
    OUT answer int, OUT tip_position bigint, OUT tip_id text, OUT missed text[]
) LANGUAGE plpgsql AS $$
DECLARE
    n int := cardinality(ids);
    base {schema}.meta;
BEGIN
    -- Each later statement sees all commits of the transaction that held this lock before.
    PERFORM pg_advisory_xact_lock({lock});
    SELECT t.position, t.commit_id INTO tip_position, tip_id FROM {schema}.tip() t;
    IF tip_position = after AND tip_id = after_id THEN
        answer := CASE WHEN pg_try_advisory_xact_lock({turn_lock}) THEN 1 ELSE 3 END;
        IF n > 0 THEN
            INSERT INTO {schema}.commits (position, commit_id, body)
                SELECT after + u.number, u.id, u.line::json FROM unnest(ids, lines) WITH ORDINALITY AS u(id, line, number);
            tip_position := after + n;
            tip_id := ids[n];
            PERFORM pg_notify({log_channel}, tip_position::text);
        END IF;
        RETURN;
    END IF;
    SELECT * INTO base FROM {schema}.meta;
    IF n > 0 AND after >= base.base_position AND n = (
        SELECT count(*) FROM unnest(ids) WITH ORDINALITY AS u(id, number)
            JOIN {schema}.commits c ON c.position = after + u.number AND c.commit_id = u.id
    ) THEN
        answer := 2;
        RETURN;
    END IF;
    answer := 0;
    IF after < base.base_position THEN
        RETURN;
    END IF;
    IF after > tip_position OR NOT (
        CASE WHEN after = base.base_position THEN after_id = base.base_id
        ELSE EXISTS (SELECT FROM {schema}.commits c WHERE c.position = after AND c.commit_id = after_id) END
    ) THEN
        answer := -1;
        RETURN;
    END IF;
    missed := ARRAY(SELECT c.body::text FROM {schema}.commits c WHERE c.position > after ORDER BY c.position LIMIT missed_max);
END
$$;

-- Wait in line to write; the next commits then. The lock is the session's until it gives it back.
CREATE OR REPLACE FUNCTION {schema}.turn(after bigint, missed_max int) RETURNS text[] LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_lock({turn_lock});
    RETURN ARRAY(SELECT c.body::text FROM {schema}.commits c WHERE c.position > after ORDER BY c.position LIMIT missed_max);
END
$$;
