-- How far the tables have come, for whoever needs them.

-- The steps that were taken of the log's own tables and of those of the login's schema: the last one, and the first that
-- a program has to know to be able to work with what they made.
CREATE OR REPLACE FUNCTION log.schema_steps() RETURNS TABLE (schema name, number integer, oldest integer)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT s.schema, max(s.number), max(s.oldest) FROM log.steps s
     WHERE s.schema IN ('log', session_user::name) GROUP BY s.schema
$$;
REVOKE ALL ON FUNCTION log.schema_steps FROM PUBLIC;
