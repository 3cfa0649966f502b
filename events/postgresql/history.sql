-- The history: what people did, as docs/history.md describes it. A redacted text is null; what was trimmed is gone.
-- A view is replaced while no one reads it. The readers that come meanwhile wait, so this gives up soon, and tries again.
DO $views$ BEGIN FOR attempt IN 1..{attempts} LOOP BEGIN

CREATE OR REPLACE VIEW {schema}.rooms AS
SELECT
    o.opened AS room_id,
    o.at AS opened_at,
    k.at AS closed_at,
    {schema}.event_of(k.body, 'room_closed') ->> 'reason' AS reason,
    {schema}.event_of(k.body, 'room_closed') ->> 'closed_by' AS closed_by,
    {schema}.event_of(o.body, 'room_opened') ->> 'first' AS first,
    {schema}.event_of(o.body, 'room_opened') ->> 'second' AS second,
    {schema}.written({schema}.event_of(o.body, 'room_opened') -> 'first_name') AS first_name,
    {schema}.written({schema}.event_of(o.body, 'room_opened') -> 'second_name') AS second_name,
    (
        SELECT count(*) FROM {schema}.commits m
        WHERE m.type = 'send_message' AND m.room_id = o.opened AND m.position > o.position
    ) AS messages,
    o.position AS opened_position,
    k.position AS closed_position
FROM {schema}.commits o LEFT JOIN {schema}.commits k ON k.closed = o.opened AND k.closed IS NOT NULL
WHERE o.opened IS NOT NULL AND o.position > (SELECT base_position FROM {schema}.meta);

CREATE OR REPLACE VIEW {schema}.messages AS
SELECT
    c.position,
    c.at AS sent_at,
    c.room_id,
    c.connection_id AS sender,
    c.body #>> '{events,0,recipient}' AS recipient,
    (
        SELECT CASE c.connection_id WHEN r.first THEN r.first_name ELSE r.second_name END
        FROM {schema}.rooms r WHERE r.room_id = c.room_id
    ) AS sender_name,
    {schema}.written(c.body #> '{command,text}') AS text,
    c.body #>> '{command,client_message_id}' AS client_message_id
FROM {schema}.commits c
WHERE c.type = 'send_message' AND c.position > (SELECT base_position FROM {schema}.meta);

CREATE OR REPLACE VIEW {schema}.people AS
SELECT
    p.connection_id,
    (
        SELECT {schema}.written(e.body #> '{command,display_name}') FROM {schema}.commits e
        WHERE e.connection_id = p.connection_id AND e.type = 'enter_queue'
            AND e.position > (SELECT base_position FROM {schema}.meta)
        ORDER BY e.position DESC LIMIT 1
    ) AS name,
    p.first_seen,
    p.last_seen,
    p.messages,
    (
        SELECT count(*) FROM {schema}.commits o
        WHERE o.opened IS NOT NULL AND o.position > (SELECT base_position FROM {schema}.meta) AND (
            {schema}.event_of(o.body, 'room_opened') ->> 'first' = p.connection_id
            OR {schema}.event_of(o.body, 'room_opened') ->> 'second' = p.connection_id
        )
    ) AS rooms
FROM (
    SELECT
        c.connection_id, min(c.at) AS first_seen, max(c.at) AS last_seen,
        count(*) FILTER (WHERE c.type = 'send_message') AS messages
    FROM {schema}.commits c
    WHERE c.connection_id IS NOT NULL AND c.type NOT IN ('disconnect', 'match_due')
        AND c.position > (SELECT base_position FROM {schema}.meta)
    GROUP BY c.connection_id
) p;

CREATE OR REPLACE VIEW {schema}.reports AS
SELECT
    c.position,
    c.at AS reported_at,
    c.room_id,
    c.connection_id AS reporter,
    {schema}.event_of(c.body, 'partner_reported') ->> 'reported' AS reported,
    {schema}.event_of(c.body, 'partner_reported') ->> 'category' AS category,
    {schema}.written(c.body #> '{command,note}') AS note
FROM {schema}.commits c
WHERE c.type = 'report_partner' AND c.position > (SELECT base_position FROM {schema}.meta);

RETURN;
EXCEPTION WHEN lock_not_available THEN
    PERFORM pg_sleep({pause_ms} / 1000.0);
END; END LOOP;
RAISE EXCEPTION 'the views of the log are being read; end long queries of them, or try again later'
    USING ERRCODE = 'lock_not_available';
END $views$;
