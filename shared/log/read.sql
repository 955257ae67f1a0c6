-- Reading. Each login reads the facts of its own source and of those it was given.

-- The sources that a login may read, of those asked for (null: of all).
CREATE OR REPLACE FUNCTION log.readable(p_sources text[]) RETURNS text[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_allowed text[] := (SELECT array_agg(source)
                           FROM (SELECT r.source FROM log.readers r WHERE r.login = session_user::name
                                 UNION SELECT split_part(t.type, '.', 1) FROM log.types t
                                        WHERE t.login = session_user::name) s);
BEGIN
    IF p_sources IS NULL THEN
        RETURN coalesce(v_allowed, '{}');
    END IF;
    IF NOT p_sources <@ coalesce(v_allowed, '{}') THEN
        RAISE EXCEPTION '% may not read events of all of these sources', session_user USING ERRCODE = '42501';
    END IF;
    RETURN p_sources;
END $$;
REVOKE ALL ON FUNCTION log.readable FROM PUBLIC;

-- A stream, with the head as it was at the same moment: at least one row, without an event if there is none.
CREATE OR REPLACE FUNCTION log.load(p_stream text) RETURNS TABLE (
    head_epoch integer, head_position bigint, head_denial_number bigint, stream_version integer,
    epoch integer, "position" bigint, stream text, version integer, type text, data text, actor text, command_id uuid,
    correlation_id text, causation_id bigint, recorded_at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    v_sources text[] := log.readable(null);
BEGIN
    RETURN QUERY
    SELECT h.epoch, h.position, h.denial_number, (SELECT s.version FROM log.streams s WHERE s.stream = p_stream),
           e.epoch, e.position, e.stream, e.version, e.type, e.data, e.actor, e.command_id, e.correlation_id,
           e.causation_id, e.recorded_at
      FROM log.head h
      LEFT JOIN log.events e ON e.stream = p_stream AND e.source = ANY (v_sources)
     ORDER BY e.version;
END $$;
REVOKE ALL ON FUNCTION log.load FROM PUBLIC;

-- Events after a position and up to another (null: the head), in order, of some sources (null: of all that the login may
-- read): p_limit of them at the most, and none after the one with which their data come to p_bytes.
CREATE OR REPLACE FUNCTION log.read_page(
    p_after bigint, p_until bigint, p_sources text[], p_limit integer, p_bytes bigint
) RETURNS SETOF log.events
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
DECLARE
    v_sources text[] := log.readable(p_sources);
    v_last bigint := coalesce(p_until, 9223372036854775807);
    v_all boolean := NOT EXISTS (SELECT FROM log.types t WHERE split_part(t.type, '.', 1) <> ALL (v_sources));
    v_event log.events;
    v_bytes bigint := 0;
BEGIN
    -- Whoever replays a log reads full pages of ordinary events. There, adding up beforehand is cheaper than counting along.
    IF v_all AND p_after + p_limit <= least(v_last, (SELECT h.position FROM log.head h))
            AND (SELECT count(*) = p_limit AND sum(octet_length(e.data)) <= p_bytes FROM log.events e
                  WHERE e.position > p_after AND e.position <= p_after + p_limit) THEN
        RETURN QUERY
        SELECT e.* FROM log.events e WHERE e.position > p_after AND e.position <= p_after + p_limit
         ORDER BY e.position;
    ELSIF v_all THEN
        FOR v_event IN
            SELECT e.* FROM log.events e WHERE e.position > p_after AND e.position <= v_last
             ORDER BY e.position LIMIT p_limit
        LOOP
            RETURN NEXT v_event;
            v_bytes := v_bytes + octet_length(v_event.data);
            EXIT WHEN v_bytes >= p_bytes;
        END LOOP;
    ELSE
        -- By rows, so that only the index by source can serve. Given "source = ..." the planner, who knows that nearly
        -- all events are of one source, walks along the positions, past millions of events of others to find one.
        FOR v_event IN
            SELECT e.* FROM unnest(v_sources) s(source)
             CROSS JOIN LATERAL (SELECT x.* FROM log.events x
                                  WHERE (x.source, x.position) > (s.source, p_after)
                                    AND (x.source, x.position) <= (s.source, v_last)
                                  ORDER BY x.source, x.position LIMIT p_limit) e
             ORDER BY e.position LIMIT p_limit
        LOOP
            RETURN NEXT v_event;
            v_bytes := v_bytes + octet_length(v_event.data);
            EXIT WHEN v_bytes >= p_bytes;
        END LOOP;
    END IF;
END $$;
REVOKE ALL ON FUNCTION log.read_page FROM PUBLIC;

-- The same, however large they are: for programs that do not know step 2.
CREATE OR REPLACE FUNCTION log.read(p_after bigint, p_sources text[], p_limit integer) RETURNS SETOF log.events
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT * FROM log.read_page(p_after, null, p_sources, p_limit, 9223372036854775807)
$$;
REVOKE ALL ON FUNCTION log.read FROM PUBLIC;

-- The value of a member of an event's data. A NUL, which PostgreSQL's JSON cannot hold, is read as U+FFFD.
CREATE OR REPLACE FUNCTION log.member(p_data text, p_name text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT replace(p_data, '\u0000', '\ufffd')::json ->> p_name
$$;
REVOKE ALL ON FUNCTION log.member FROM PUBLIC;

-- The position of the first event recorded at or after a moment; one more than the head if there is none. Time never
-- goes back in the log, so this is a search by halves.
CREATE OR REPLACE FUNCTION log.first_since(p_moment timestamptz) RETURNS bigint
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off AS $$
DECLARE
    v_low bigint := 1;
    v_high bigint := (SELECT h.position + 1 FROM log.head h);
    v_middle bigint;
    v_found record;
BEGIN
    WHILE v_low < v_high LOOP
        v_middle := (v_low + v_high) / 2;
        SELECT e.position, e.recorded_at INTO v_found FROM log.events e
         WHERE e.position >= v_middle ORDER BY e.position LIMIT 1;
        IF v_found.position IS NULL OR v_found.recorded_at >= p_moment THEN
            v_high := v_middle;
        ELSE
            v_low := v_found.position + 1;
        END IF;
    END LOOP;
    RETURN v_low;
END $$;
REVOKE ALL ON FUNCTION log.first_since FROM PUBLIC;

-- Events after a position and up to another (null: the head), in order, that match; null matches everything. A page of
-- them, as log.read_page has it.
CREATE OR REPLACE FUNCTION log.read_matching_page(
    p_after bigint, p_until bigint, p_limit integer, p_bytes bigint, p_types text[], p_sources text[], p_streams text[],
    p_client_ids text[], p_subs text[], p_sids text[], p_gids text[], p_jtis text[], p_actors text[],
    p_correlation_ids text[], p_since timestamptz, p_before timestamptz
) RETURNS SETOF log.events
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan AS $$
DECLARE
    v_sources text[] := log.readable(p_sources);
    v_after bigint := greatest(p_after, CASE WHEN p_since IS NOT NULL THEN log.first_since(p_since) - 1 END);
    v_last bigint := least(coalesce(p_until, 9223372036854775807),
                           CASE WHEN p_before IS NOT NULL THEN log.first_since(p_before) - 1 END);
    v_event log.events;
    v_bytes bigint := 0;
BEGIN
    FOR v_event IN
        SELECT e.* FROM log.events e
         WHERE e.position > v_after AND e.position <= v_last AND e.source = ANY (v_sources)
           AND (p_types IS NULL OR e.type = ANY (p_types))
           AND (p_streams IS NULL OR e.stream = ANY (p_streams))
           AND (p_actors IS NULL OR e.actor = ANY (p_actors))
           AND (p_correlation_ids IS NULL OR e.correlation_id = ANY (p_correlation_ids))
           AND (p_client_ids IS NULL OR log.member(e.data, 'client_id') = ANY (p_client_ids))
           AND (p_subs IS NULL OR log.member(e.data, 'sub') = ANY (p_subs))
           AND (p_sids IS NULL OR log.member(e.data, 'sid') = ANY (p_sids))
           AND (p_gids IS NULL OR log.member(e.data, 'gid') = ANY (p_gids))
           AND (p_jtis IS NULL OR log.member(e.data, 'jti') = ANY (p_jtis))
         ORDER BY e.position LIMIT p_limit
    LOOP
        RETURN NEXT v_event;
        v_bytes := v_bytes + octet_length(v_event.data);
        EXIT WHEN v_bytes >= p_bytes;
    END LOOP;
END $$;
REVOKE ALL ON FUNCTION log.read_matching_page FROM PUBLIC;

-- The same, however large they are: for programs that do not know step 2.
CREATE OR REPLACE FUNCTION log.read_matching(
    p_after bigint, p_until bigint, p_limit integer, p_types text[], p_sources text[], p_streams text[],
    p_client_ids text[], p_subs text[], p_sids text[], p_gids text[], p_jtis text[], p_actors text[],
    p_correlation_ids text[], p_since timestamptz, p_before timestamptz
) RETURNS SETOF log.events
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT * FROM log.read_matching_page(p_after, p_until, p_limit, 9223372036854775807, p_types, p_sources, p_streams,
        p_client_ids, p_subs, p_sids, p_gids, p_jtis, p_actors, p_correlation_ids, p_since, p_before)
$$;
REVOKE ALL ON FUNCTION log.read_matching FROM PUBLIC;

-- Denials are of no use in part: who reads them may read every source that can deny.
CREATE OR REPLACE FUNCTION log.check_denial_reader() RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM log.readable((SELECT array_agg(DISTINCT split_part(t.type, '.', 1)) FROM log.types t
                           WHERE t.denial_kinds <> '{}'));
END $$;
REVOKE ALL ON FUNCTION log.check_denial_reader FROM PUBLIC;

-- The denials that hold, with the head as it was at the same moment: at least one row, without a denial if there is
-- none. A standing denial holds until it is lifted or its time has passed (five minutes more, for clocks that are
-- late). Of several alike the one that says most is enough: the longest standing one, the last cut-off. `until` is when
-- it ends, also where its event could not know that.
CREATE OR REPLACE FUNCTION log.active_denials() RETURNS TABLE (
    head_epoch integer, head_position bigint, head_denial_number bigint,
    number bigint, "position" bigint, epoch integer, source text, kind text, id text, rule text, except_id text,
    until timestamptz, recorded_at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    PERFORM log.check_denial_reader();
    RETURN QUERY
    SELECT h.epoch, h.position, h.denial_number,
           d.number, d.position, d.epoch, d.source, d.kind, d.id, d.rule, d.except_id,
           log.denial_end(d.kind, d.rule, d.until, d.recorded_at), d.recorded_at
      FROM log.head h
      LEFT JOIN (
        SELECT DISTINCT ON (a.kind, a.id, a.rule, a.except_id) a.*
          FROM log.denials a
         WHERE coalesce(log.denial_end(a.kind, a.rule, a.until, a.recorded_at), 'infinity')
                   > clock_timestamp() - interval '5 minutes'
           AND (a.rule = 'cut_off' OR a.rule = 'standing' AND NOT EXISTS (
                SELECT FROM log.denials l WHERE l.kind = a.kind AND l.id = a.id AND l.rule = 'lifted'
                                            AND l.number > a.number))
         ORDER BY a.kind, a.id, a.rule, a.except_id,
                  CASE WHEN a.rule = 'standing' THEN coalesce(a.until, 'infinity') END DESC NULLS LAST, a.number DESC
      ) d ON true
     ORDER BY d.number;
END $$;
REVOKE ALL ON FUNCTION log.active_denials FROM PUBLIC;

-- All epochs that ever began. What an earlier one issued before the next one began is on the living branch.
CREATE OR REPLACE FUNCTION log.known_epochs() RETURNS TABLE (epoch integer, first_position bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT e.epoch, e.first_position FROM log.epochs e ORDER BY e.epoch
$$;
REVOKE ALL ON FUNCTION log.known_epochs FROM PUBLIC;

-- Denials by number. Their numbers are dense, but for those that were pruned: whoever meets a gap needs a snapshot.
CREATE OR REPLACE FUNCTION log.denials_after(p_number bigint, p_limit integer) RETURNS SETOF log.denials
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM log.check_denial_reader();
    RETURN QUERY
    SELECT d.number, d.position, d.epoch, d.source, d.kind, d.id, d.rule, d.except_id,
           log.denial_end(d.kind, d.rule, d.until, d.recorded_at), d.recorded_at
      FROM log.denials d WHERE d.number > p_number ORDER BY d.number LIMIT p_limit;
END $$;
REVOKE ALL ON FUNCTION log.denials_after FROM PUBLIC;
