-- Expiring events leave the log a partition at a time, the oldest first, after they were archived. What is left of them
-- are their hashes in the tree outside the database, an event of the caretaker that says what was archived, and a row here.

-- However short a time the caretaker asks for. A grant is refreshed for a year at most, its last access token lives for a
-- day, and the issuer's row of it stays for a week after that: no decision needs, and no read model has, what is older
-- (services/ledger/settings.py has the same).
CREATE OR REPLACE FUNCTION log.shortest_retention() RETURNS interval
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT interval '380 days'
$$;
REVOKE ALL ON FUNCTION log.shortest_retention FROM PUBLIC;

-- Partitions of expiring events to which nothing can be added any more, with the positions that they are for, and when
-- the last of these was recorded.
CREATE OR REPLACE FUNCTION log.closed_partitions() RETURNS TABLE (
    name text, first bigint, last bigint, closed_at timestamptz)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT p.name, greatest(p.low, 1), p.high - 1,
           (SELECT e.recorded_at FROM log.events e WHERE e.position < p.high ORDER BY e.position DESC LIMIT 1)
      FROM (
        SELECT c.relname::text AS name, b.bounds[1]::bigint AS low, b.bounds[2]::bigint AS high
          FROM pg_inherits i
          JOIN pg_class c ON c.oid = i.inhrelid
         CROSS JOIN LATERAL (
            SELECT regexp_match(pg_get_expr(c.relpartbound, c.oid), 'FROM \(''?(\d+)''?\) TO \(''?(\d+)''?\)')) b(bounds)
         WHERE i.inhparent = 'log.events_expiring'::regclass) p
     WHERE p.high <= (SELECT h.position + 1 FROM log.head h)
     ORDER BY p.low;
END $$;
REVOKE ALL ON FUNCTION log.closed_partitions FROM PUBLIC;

-- The partitions whose every event is older than that, the oldest first, and for how long already.
CREATE OR REPLACE FUNCTION log.archivable(p_retention interval) RETURNS TABLE (
    first bigint, last bigint, seconds_overdue double precision)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_before timestamptz := clock_timestamp() - greatest(p_retention, log.shortest_retention());
BEGIN
    PERFORM log.check_caretaker();
    RETURN QUERY
    SELECT p.first, p.last, extract(epoch FROM v_before - p.closed_at)::double precision
      FROM log.closed_partitions() p WHERE p.closed_at < v_before ORDER BY p.first;
END $$;
REVOKE ALL ON FUNCTION log.archivable FROM PUBLIC;

-- Drop the partition that begins with a position; answers how many events it had. What the caller believes is looked at
-- here: that it is one of expiring events and the oldest, that nothing in it is younger than has to be kept, that an event
-- of the caretaker's says that just these were archived, and that nothing that is alive rests on them. A lock that
-- somebody else holds is waited for for a moment only, because appends wait behind whoever waits.
CREATE OR REPLACE FUNCTION log.prune(p_first bigint, p_record bigint, p_retention interval) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '100ms' AS $$
DECLARE
    v_partition record;
    v_stated json;
    v_events bigint;
    v_behind text;
BEGIN
    PERFORM log.check_caretaker();
    SELECT * INTO v_partition FROM log.closed_partitions() p ORDER BY p.first LIMIT 1;
    IF NOT FOUND OR v_partition.first <> p_first THEN
        RAISE EXCEPTION 'position % does not begin the oldest full partition of expiring events', p_first
            USING ERRCODE = '55000';
    END IF;
    IF (v_partition.closed_at < clock_timestamp() - greatest(p_retention, log.shortest_retention())) IS NOT TRUE THEN
        RAISE EXCEPTION 'events up to position % have to be kept for longer', v_partition.last USING ERRCODE = '55000';
    END IF;

    SELECT e.data::json INTO v_stated
      FROM log.events e
      JOIN log.types t ON t.type = e.type AND t.login = session_user::name AND t.retention = 'lasting'
     WHERE e.position = p_record AND e.retention = 'lasting' AND e.stream = format('archive-%s', p_first);
    EXECUTE format('SELECT count(*) FROM log.%I', v_partition.name) INTO v_events;
    IF ((v_stated ->> 'first')::bigint, (v_stated ->> 'last')::bigint, (v_stated ->> 'events')::bigint)
            IS DISTINCT FROM (v_partition.first, v_partition.last, v_events) THEN
        RAISE EXCEPTION 'position % does not say that these % events were archived', p_record, v_events
            USING ERRCODE = '55000';
    END IF;

    IF EXISTS (SELECT FROM log.denials d JOIN log.events_expiring e ON e.position = d.position
                WHERE d.position BETWEEN v_partition.first AND v_partition.last) THEN
        RAISE EXCEPTION 'a denial rests on an event up to position %', v_partition.last USING ERRCODE = '55000';
    END IF;
    v_behind := log.behind_partition(v_partition.name);
    IF v_behind IS NOT NULL THEN
        RAISE EXCEPTION '% has not taken in all events up to position %', v_behind, v_partition.last
            USING ERRCODE = '55000';
    END IF;

    EXECUTE format('ALTER TABLE log.events_expiring DETACH PARTITION log.%I', v_partition.name);
    EXECUTE format('DROP TABLE log.%I', v_partition.name);
    INSERT INTO log.pruned (last, first, events, record, pruned_at)
        VALUES (v_partition.last, v_partition.first, v_events, p_record, clock_timestamp());
    RETURN v_events;
END $$;
REVOKE ALL ON FUNCTION log.prune FROM PUBLIC;

-- A projection that follows one of the sources of a partition, and has not come past it; null: there is none.
CREATE OR REPLACE FUNCTION log.behind_partition(p_name text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
DECLARE
    v_follower record;
    v_last bigint;
    v_checkpoint bigint;
BEGIN
    FOR v_follower IN
        SELECT m.login, m.projection, s.source FROM log.read_models m, unnest(m.sources) s(source)
         WHERE s.source NOT IN (SELECT split_part(t.type, '.', 1) FROM log.types t WHERE t.login = m.login)
    LOOP
        EXECUTE format('SELECT e.position FROM log.%I e WHERE e.source = $1 ORDER BY e.position DESC LIMIT 1', p_name)
           INTO v_last USING v_follower.source;
        CONTINUE WHEN v_last IS NULL;
        EXECUTE format('SELECT c.position FROM %I.checkpoints c WHERE c.projection = $1 AND c.source = $2',
                       v_follower.login) INTO v_checkpoint USING v_follower.projection, v_follower.source;
        IF coalesce(v_checkpoint, 0) < v_last THEN
            RETURN v_follower.login || '.' || v_follower.projection;
        END IF;
    END LOOP;
    RETURN null;
END $$;
REVOKE ALL ON FUNCTION log.behind_partition FROM PUBLIC;

-- What has left the log, in order.
CREATE OR REPLACE FUNCTION log.pruned_between(p_after bigint, p_until bigint) RETURNS SETOF log.pruned
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM log.check_caretaker();
    RETURN QUERY SELECT p.* FROM log.pruned p WHERE p.last > p_after AND p.first <= p_until ORDER BY p.last;
END $$;
REVOKE ALL ON FUNCTION log.pruned_between FROM PUBLIC;

-- Up to where the log has gaps; null: nowhere.
CREATE OR REPLACE FUNCTION log.pruned_to() RETURNS bigint
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM log.check_caretaker();
    RETURN (SELECT max(p.last) FROM log.pruned p);
END $$;
REVOKE ALL ON FUNCTION log.pruned_to FROM PUBLIC;
