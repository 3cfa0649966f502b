-- A role that only serves; it need not own anything.
GRANT USAGE ON SCHEMA {schema} TO {role};
GRANT SELECT, INSERT, UPDATE, DELETE ON
    {schema}.commits, {schema}.snapshots, {schema}.snapshot_parts, {schema}.deliveries, {schema}.operations, {schema}.session_records
    TO {role};
GRANT SELECT, UPDATE ON {schema}.meta TO {role};
GRANT SELECT ON {schema}.secret TO {role};
