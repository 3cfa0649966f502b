-- A role that only reads: the debugger's commands, and the history.
GRANT USAGE ON SCHEMA {schema} TO {role};
GRANT SELECT ON {schema}.meta, {schema}.commits, {schema}.snapshots, {schema}.snapshot_parts, {schema}.deliveries,
    {schema}.operations TO {role};
GRANT SELECT ON {schema}.messages, {schema}.rooms, {schema}.people, {schema}.reports TO {role};
