-- What the tree of hashes is made of, and what it is checked against. Only for those who look after the log.

-- The leaf hashes after a position and up to another, one behind the other in order, and of how many positions they
-- are: 32 bytes for each position, unless the log is not what it was.
CREATE OR REPLACE FUNCTION log.leaf_hashes(p_after bigint, p_until bigint, OUT positions bigint, OUT hashes bytea)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
BEGIN
    PERFORM log.check_caretaker();
    SELECT count(DISTINCT e.position), coalesce(string_agg(e.leaf_hash, ''::bytea ORDER BY e.position), ''::bytea)
      INTO positions, hashes
      FROM log.events e WHERE e.position > p_after AND e.position <= p_until;
END $$;
REVOKE ALL ON FUNCTION log.leaf_hashes FROM PUBLIC;

-- The same one by one, as far as they are there.
CREATE OR REPLACE FUNCTION log.hashes(p_after bigint, p_until bigint) RETURNS TABLE ("position" bigint, leaf_hash bytea)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
#variable_conflict use_column
BEGIN
    PERFORM log.check_caretaker();
    RETURN QUERY
    SELECT e.position, e.leaf_hash FROM log.events e WHERE e.position > p_after AND e.position <= p_until
     ORDER BY e.position;
END $$;
REVOKE ALL ON FUNCTION log.hashes FROM PUBLIC;

-- Events after a position and up to another, of one retention class or (null) of both, as they are hashed: what is in the
-- columns now, in the form that log.append hashes (and stagedoor_verify.py), so whoever changed a column has changed this.
-- `misfiled`: what is not hashed does not say what the type says: the source, by which events are found, or the class
-- that was asked for. There are none after the position with which their data come to p_bytes; all of that one are there,
-- should somebody have put two in its place.
CREATE OR REPLACE FUNCTION log.evidence_page(p_after bigint, p_until bigint, p_bytes bigint, p_retention text)
RETURNS TABLE ("position" bigint, leaf bytea, salt bytea, data bytea, leaf_hash bytea, misfiled boolean)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    v_last bigint := p_until;
BEGIN
    PERFORM log.check_caretaker();
    IF (SELECT sum(octet_length(e.data)) FROM log.events e
         WHERE e.position > p_after AND e.position <= p_until AND (p_retention IS NULL OR e.retention = p_retention)
       ) > p_bytes THEN
        SELECT min(s.position) INTO STRICT v_last FROM (
            SELECT e.position, sum(octet_length(e.data)) OVER (ORDER BY e.position) AS so_far FROM log.events e
             WHERE e.position > p_after AND e.position <= p_until AND (p_retention IS NULL OR e.retention = p_retention)
            ) s WHERE s.so_far >= p_bytes;
    END IF;
    RETURN QUERY
    SELECT e.position,
           convert_to(concat_ws(E'\n',
               'stagedoor-event-v1', e.epoch, e.position, e.stream, e.version, e.type, encode(e.data_digest, 'hex'),
               e.actor, e.command_id, e.correlation_id, coalesce(e.causation_id::text, ''),
               to_char(e.recorded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')), 'UTF8'),
           e.salt, convert_to(e.data, 'UTF8'), e.leaf_hash,
           e.source <> split_part(e.type, '.', 1) OR p_retention IS NOT NULL AND p_retention IS DISTINCT FROM
               (SELECT t.retention FROM log.types t WHERE t.type = e.type)
      FROM log.events e
     WHERE e.position > p_after AND e.position <= v_last AND (p_retention IS NULL OR e.retention = p_retention)
     ORDER BY e.position, e.retention;
END $$;
REVOKE ALL ON FUNCTION log.evidence_page FROM PUBLIC;

-- The same, however large they are: for programs that do not know step 2.
CREATE OR REPLACE FUNCTION log.evidence(p_after bigint, p_until bigint, p_retention text DEFAULT null) RETURNS TABLE (
    "position" bigint, leaf bytea, salt bytea, data bytea, leaf_hash bytea, misfiled boolean)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT * FROM log.evidence_page(p_after, p_until, 9223372036854775807, p_retention)
$$;
REVOKE ALL ON FUNCTION log.evidence FROM PUBLIC;
