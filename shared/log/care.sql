-- What the log needs from time to time. Partitions are made before they are needed, and dropped when nothing in them
-- can matter any more; denials are pruned when no token that they match can be alive.

-- CREATE and ATTACH, because CREATE ... PARTITION OF waits for every open reader, with all appends behind it.
CREATE OR REPLACE FUNCTION log.make_event_partition(p_retention text, p_from bigint, p_until bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_name text := format('events_%s_%s', p_retention, p_from);
BEGIN
    IF to_regclass(format('log.%I', v_name)) IS NOT NULL THEN
        RETURN;
    END IF;
    EXECUTE format('CREATE TABLE log.%I (LIKE log.events INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', v_name);
    EXECUTE format('CREATE UNIQUE INDEX ON log.%I (stream, version)', v_name);
    EXECUTE format('ALTER TABLE log.%I ATTACH PARTITION log.%I FOR VALUES FROM (%s) TO (%s)',
                   'events_' || p_retention, v_name, p_from, p_until);
END $$;
REVOKE ALL ON FUNCTION log.make_event_partition FROM PUBLIC;

CREATE OR REPLACE FUNCTION log.make_once_partition(p_from timestamptz) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    v_name text := 'once_' || to_char(p_from, 'YYYYMMDD');
BEGIN
    IF to_regclass(format('log.%I', v_name)) IS NOT NULL THEN
        RETURN;
    END IF;
    EXECUTE format('CREATE TABLE log.%I (LIKE log.once INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', v_name);
    EXECUTE format('ALTER TABLE log.once ATTACH PARTITION log.%I FOR VALUES FROM (%L) TO (%L)',
                   v_name, p_from, p_from + interval '1 day');
END $$;
REVOKE ALL ON FUNCTION log.make_once_partition FROM PUBLIC;

-- Make what is needed for the positions and days that come, and drop once-keys that expired two days ago or more.
-- Part of the care that is taken on a timer; also called by an append that runs out of partitions because none was.
CREATE OR REPLACE FUNCTION log.make_room(OUT v_events_made integer, OUT v_once_made integer, OUT v_once_dropped integer)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    c_positions CONSTANT bigint := 16777216;    -- of one partition
    v_head log.head;
    v_from bigint;
    v_today timestamptz := date_trunc('day', clock_timestamp(), 'UTC');
    v_day timestamptz;
BEGIN
    v_events_made := 0;
    v_once_made := 0;
    v_once_dropped := 0;
    SELECT * INTO STRICT v_head FROM log.head;
    IF v_head.events_until >= v_head.position + c_positions AND v_head.once_until >= v_today + interval '14 days'
            AND v_head.once_from >= v_today - interval '2 days' THEN
        RETURN;
    END IF;
    LOCK TABLE log.gate IN EXCLUSIVE MODE;
    SELECT * INTO STRICT v_head FROM log.head;
    v_from := v_head.events_until;
    WHILE v_from < (v_head.position / c_positions + 2) * c_positions LOOP
        PERFORM log.make_event_partition('lasting', v_from, v_from + c_positions);
        PERFORM log.make_event_partition('expiring', v_from, v_from + c_positions);
        v_from := v_from + c_positions;
        v_events_made := v_events_made + 2;
    END LOOP;
    v_day := v_head.once_until;
    WHILE v_day < v_today + interval '15 days' LOOP
        PERFORM log.make_once_partition(v_day);
        v_day := v_day + interval '1 day';
        v_once_made := v_once_made + 1;
    END LOOP;
    WHILE v_head.once_from < v_today - interval '2 days' LOOP
        EXECUTE format('DROP TABLE IF EXISTS log.%I', 'once_' || to_char(v_head.once_from, 'YYYYMMDD'));
        v_head.once_from := v_head.once_from + interval '1 day';
        v_once_dropped := v_once_dropped + 1;
    END LOOP;
    UPDATE log.head SET events_until = v_from, once_until = v_day, once_from = v_head.once_from;
END $$;
REVOKE ALL ON FUNCTION log.make_room FROM PUBLIC;

-- No access token lives longer (shared/denials.py has the same).
CREATE OR REPLACE FUNCTION log.longest_access_token() RETURNS interval
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT interval '1 day'
$$;
REVOKE ALL ON FUNCTION log.longest_access_token FROM PUBLIC;

-- After this moment a denial matches no token that is alive; null: until it is lifted, or for ever. A cut-off for
-- tokens that come from a session ends with the access tokens of before it. One for a subject or a client may match
-- reference tokens, whose life has no bound. The end of a session is told by the clock of whoever ended it, which may be
-- late: nothing that the session gave is later than the denial, so it holds for the longest life from there at least.
CREATE OR REPLACE FUNCTION log.denial_end(p_kind text, p_rule text, p_until timestamptz, p_recorded_at timestamptz)
RETURNS timestamptz
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN p_until IS NULL AND p_rule = 'cut_off' AND p_kind IN ('token', 'grant', 'session', 'subject_sessions')
                THEN p_recorded_at + log.longest_access_token()
                WHEN p_kind = 'session' AND p_until IS NOT NULL
                THEN greatest(p_until, p_recorded_at + log.longest_access_token())
                ELSE p_until END
$$;
REVOKE ALL ON FUNCTION log.denial_end FROM PUBLIC;

-- Look at so many denials after a number, and prune those that can match nothing any more; answers how many it were,
-- and the last number it looked at, null at the end. None goes before it is older than any access token: then what was
-- issued before it has expired, whatever was said of its end.
--   over        its end has passed (five minutes ago, for clocks that are late); the horizon tells the fence of it
--   superseded  a later one says the same for the same id, and for more tokens
--   lifted      and the lifting, when all that it lifts is gone
-- The numbers of those that stay do not change, so whoever reads on by number sees that some are missing, and takes a
-- snapshot. The fence sees either the denial or the horizon, because the gate is held from here to the commit.
CREATE OR REPLACE FUNCTION log.prune_denials(
    p_after bigint, p_most integer, OUT v_pruned integer, OUT v_last bigint
)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    c_late CONSTANT interval := '5 minutes';
    v_before timestamptz := clock_timestamp() - log.longest_access_token() - c_late;
    v_seen bigint;
    v_over bigint[];
    v_useless bigint[];
    v_liftings bigint[];
    v_lifted integer;
BEGIN
    v_pruned := 0;
    WITH page AS (
        SELECT d.* FROM log.denials d WHERE d.number > p_after ORDER BY d.number LIMIT p_most
    ), judged AS (
        SELECT d.number,
               CASE WHEN d.recorded_at >= v_before THEN 'fresh'
                    WHEN log.denial_end(d.kind, d.rule, d.until, d.recorded_at) < clock_timestamp() - c_late THEN 'over'
                    WHEN d.rule = 'lifted' THEN 'lifting'
                    WHEN d.until IS NULL AND EXISTS (
                        SELECT FROM log.denials l
                         WHERE l.kind = d.kind AND l.id = d.id AND l.number > d.number AND l.recorded_at < v_before
                           AND (l.rule = d.rule AND l.source = d.source AND l.until IS NULL
                                    AND l.except_id IS NOT DISTINCT FROM d.except_id
                                OR l.rule = 'lifted' AND d.rule = 'standing' AND d.kind <> 'key')) THEN 'useless'
                    ELSE 'needed' END AS judgement
          FROM page d
    )
    SELECT count(*), max(j.number),
           array_agg(j.number) FILTER (WHERE j.judgement = 'over'),
           array_agg(j.number) FILTER (WHERE j.judgement = 'useless'),
           array_agg(j.number) FILTER (WHERE j.judgement = 'lifting')
      INTO v_seen, v_last, v_over, v_useless, v_liftings FROM judged j;
    IF v_seen < p_most THEN
        v_last := null;
    END IF;
    IF v_over IS NULL AND v_useless IS NULL AND v_liftings IS NULL THEN
        RETURN;
    END IF;

    LOCK TABLE log.gate IN EXCLUSIVE MODE;
    IF v_over IS NOT NULL THEN
        INSERT INTO log.denial_horizons AS h (source, kind, login, position)
        SELECT d.source, d.kind, (SELECT t.login FROM log.types t WHERE split_part(t.type, '.', 1) = d.source LIMIT 1),
               max(d.position)
          FROM log.denials d WHERE d.number = ANY (v_over) GROUP BY d.source, d.kind
        ON CONFLICT (kind, source) DO UPDATE SET position = greatest(h.position, excluded.position);
        UPDATE log.head SET denials_pruned = (SELECT coalesce(max(h.position), 0) FROM log.denial_horizons h);
    END IF;
    DELETE FROM log.denials d WHERE d.number = ANY (v_over || v_useless);
    GET DIAGNOSTICS v_pruned = ROW_COUNT;
    DELETE FROM log.denials d
     WHERE d.number = ANY (v_liftings) AND NOT EXISTS (
        SELECT FROM log.denials a
         WHERE a.kind = d.kind AND a.id = d.id AND a.rule = 'standing' AND a.number < d.number);
    GET DIAGNOSTICS v_lifted = ROW_COUNT;
    v_pruned := v_pruned + v_lifted;
END $$;
REVOKE ALL ON FUNCTION log.prune_denials FROM PUBLIC;

-- The commands whose view may lack a denial that is not there any more: their party is of a kind of which denials were
-- pruned at positions past what they know. Whoever owns the facts is left out: its as_of says when it looked at one
-- party, its own tables are never late, and nothing is pruned within a day.
CREATE OR REPLACE FUNCTION log.behind_pruning(p_party_of integer[], p_party_kinds text[], p_as_of text[])
RETURNS TABLE (of integer, source text, "position" bigint)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT p.of, h.source, h.position
      FROM unnest(p_party_of, p_party_kinds) p(of, kind)
      JOIN log.denial_horizons h ON h.kind = p.kind AND h.login <> session_user::name
     WHERE h.position > coalesce((p_as_of[p.of]::jsonb ->> h.source)::bigint, 0)
$$;
REVOKE ALL ON FUNCTION log.behind_pruning FROM PUBLIC;

-- Only for those who were made caretakers by the migration.
CREATE OR REPLACE FUNCTION log.check_caretaker() RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM log.caretakers c WHERE c.login = session_user::name) THEN
        RAISE EXCEPTION '% does not look after the log', session_user USING ERRCODE = '42501';
    END IF;
END $$;
REVOKE ALL ON FUNCTION log.check_caretaker FROM PUBLIC;

-- All care that the log needs, for denials a page of them. Answers what it changed, and the number after which the next
-- page begins, null if there is none. Each call is short: appends may have to wait for it.
CREATE OR REPLACE FUNCTION log.care(
    p_after bigint DEFAULT 0, p_most integer DEFAULT 5000,
    OUT event_partitions_made integer, OUT once_partitions_made integer, OUT once_partitions_dropped integer,
    OUT denials_pruned integer, OUT next_after bigint
)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM log.check_caretaker();
    SELECT r.v_events_made, r.v_once_made, r.v_once_dropped
      INTO event_partitions_made, once_partitions_made, once_partitions_dropped FROM log.make_room() r;
    SELECT p.v_pruned, p.v_last INTO denials_pruned, next_after
      FROM log.prune_denials(p_after, least(greatest(p_most, 1), 5000)) p;
    INSERT INTO log.care_taken (at) VALUES (clock_timestamp()) ON CONFLICT (only_one) DO UPDATE SET at = excluded.at;
END $$;
REVOKE ALL ON FUNCTION log.care FROM PUBLIC;

-- How the log is: seconds since care was last taken (null: never), positions and days for which there are partitions,
-- and whether a commit waits for another server.
CREATE OR REPLACE FUNCTION log.condition(
    OUT care_seconds_ago double precision, OUT positions_ahead bigint, OUT days_ahead double precision,
    OUT synchronous boolean
)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM log.check_caretaker();
    SELECT (SELECT extract(epoch FROM clock_timestamp() - c.at) FROM log.care_taken c),
           h.events_until - h.position, extract(epoch FROM h.once_until - clock_timestamp()) / 86400,
           btrim(current_setting('synchronous_standby_names')) <> ''
      INTO STRICT care_seconds_ago, positions_ahead, days_ahead, synchronous FROM log.head h;
END $$;
REVOKE ALL ON FUNCTION log.condition FROM PUBLIC;

-- Lead, until the transaction ends; false: another does. A table lock, because anybody could take an advisory one.
CREATE OR REPLACE FUNCTION log.lead() RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM log.check_caretaker();
    LOCK TABLE log.leader IN EXCLUSIVE MODE NOWAIT;
    RETURN true;
EXCEPTION WHEN lock_not_available THEN
    RETURN false;
END $$;
REVOKE ALL ON FUNCTION log.lead FROM PUBLIC;
