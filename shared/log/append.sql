-- The append: the one way in.

-- The epoch of this server: another than the last if the server is another one, or has begun another history. Both stay
-- as they are while a server runs, so they are looked at once for each start of one. Under the gate.
--
-- The first is 1. Each later one is numbered by when it began (seconds since 2026), as a back-up does not know what
-- epochs there were since it was taken, and none of them may be given out again.
CREATE OR REPLACE FUNCTION log.current_epoch(p_head log.head) RETURNS integer
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_system bigint;
    v_timeline integer;
    v_last log.epochs;
BEGIN
    SELECT system_identifier INTO STRICT v_system FROM pg_control_system();
    v_timeline := ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::integer;
    SELECT * INTO v_last FROM log.epochs ORDER BY epoch DESC LIMIT 1;
    IF (v_last.system_identifier, v_last.timeline) IS DISTINCT FROM (v_system, v_timeline) THEN
        v_last.epoch := CASE WHEN v_last.epoch IS NULL THEN 1
            ELSE greatest(v_last.epoch + 1, extract(epoch FROM clock_timestamp() - timestamptz '2026-01-01Z')::integer) END;
        INSERT INTO log.epochs (epoch, system_identifier, timeline, first_position, began_at)
            VALUES (v_last.epoch, v_system, v_timeline, p_head.position + 1, clock_timestamp());
    END IF;
    RETURN v_last.epoch;
END $$;
REVOKE ALL ON FUNCTION log.current_epoch FROM PUBLIC;

-- Appends the events of several commands; each succeeds or fails by itself. Commands are numbered from 1 in the order
-- of the first seven arguments, which have an element for each; `..._of` arrays hold such numbers, p_denial_of holds
-- numbers of events. p_expected is null for a stream of a single event. p_resend: these commands were sent before, and
-- what became of them is not known.
--
-- Answers, for each command, an outcome: appended; repeated (it had been appended before); conflict (the stream is at
-- another version); name_taken; used (a once-key); fenced (by a denial of v_sources at v_positions, or, where there are
-- none, because it was decided in another epoch); and for the first two where its last event is. Raises an error, and nothing has happened, if any command is not allowed to this login.
--
-- How long it waited for the gate is left in the setting stagedoor.gate_wait (seconds), for this statement alone.
--
-- Look-ups in tables are scalar subqueries, so that they go through an index whatever the planner thinks of the size
-- of a table that was empty when it looked.
CREATE OR REPLACE FUNCTION log.append(
    p_streams text[], p_expected integer[], p_commands uuid[], p_actors text[], p_correlations text[],
    p_causations bigint[], p_as_of text[],
    p_event_of integer[], p_types text[], p_data text[], p_salts bytea[],
    p_denial_of integer[], p_denial_kinds text[], p_denial_ids text[], p_denial_rules text[], p_denial_excepts text[],
    p_denial_untils timestamptz[],
    p_name_of integer[], p_names bytea[],
    p_once_of integer[], p_once bytea[], p_once_expire timestamptz[],
    p_party_of integer[], p_party_kinds text[], p_party_ids text[],
    p_resend boolean,
    OUT v_outcomes text[], OUT v_epochs integer[], OUT v_positions bigint[], OUT v_versions integer[],
    OUT v_times timestamptz[], OUT v_sources text[]
)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
DECLARE
    v_head log.head;
    v_started timestamptz := pg_postmaster_start_time();
    v_now timestamptz;
    v_asked timestamptz;
    v_now_text text;
    v_commands integer := cardinality(p_streams);
    v_refused text;
    v_found record;
    v_event_positions bigint[];
    v_end bigint;
    v_whole boolean;
    v_denials bigint := 0;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'append needs READ COMMITTED: an older snapshot does not see the head' USING ERRCODE = '25001';
    END IF;
    IF current_setting('synchronous_commit') IN ('off', 'local', 'remote_write') THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;

    -- What this login may write.
    SELECT format('events of type %s', t.type) INTO v_refused FROM (SELECT DISTINCT type FROM unnest(p_types) u(type)) t
     WHERE (SELECT y.login FROM log.types y WHERE y.type = t.type) IS DISTINCT FROM session_user::name LIMIT 1;
    IF v_refused IS NULL THEN
        SELECT format('streams of category %s', c.category) INTO v_refused
          FROM (SELECT DISTINCT split_part(stream, '-', 1) FROM unnest(p_streams) u(stream)) c(category)
         WHERE (SELECT y.login FROM log.categories y WHERE y.category = c.category) IS DISTINCT FROM session_user::name
         LIMIT 1;
    END IF;
    IF v_refused IS NULL AND cardinality(p_denial_of) > 0 THEN
        SELECT format('denials of kind %s by %s', d.kind, p_types[d.of]) INTO v_refused
          FROM unnest(p_denial_of, p_denial_kinds) d(of, kind)
         WHERE (SELECT d.kind = ANY (y.denial_kinds) FROM log.types y WHERE y.type = p_types[d.of]) IS NOT TRUE LIMIT 1;
    END IF;
    IF v_refused IS NOT NULL THEN
        RAISE EXCEPTION '% may not append %', session_user, v_refused USING ERRCODE = '42501';
    END IF;
    IF (SELECT count(DISTINCT stream) FROM unnest(p_streams) u(stream)) <> v_commands THEN
        RAISE EXCEPTION 'two commands of one group have the same stream' USING ERRCODE = '22023';
    END IF;

    v_asked := clock_timestamp();
    LOCK TABLE log.gate IN EXCLUSIVE MODE;
    PERFORM set_config('stagedoor.gate_wait', extract(epoch FROM clock_timestamp() - v_asked)::text, true);
    SELECT * INTO STRICT v_head FROM log.head;
    IF v_head.position + cardinality(p_types) >= v_head.events_until
            OR (SELECT max(e) FROM unnest(p_once_expire) u(e)) >= v_head.once_until THEN
        PERFORM log.make_room();
        SELECT * INTO STRICT v_head FROM log.head;
    END IF;
    IF v_head.server_started_at IS DISTINCT FROM v_started THEN
        v_head.epoch := log.current_epoch(v_head);
    END IF;
    v_now := greatest(clock_timestamp(), v_head.recorded_at);

    -- Versions.
    SELECT array_agg(
               CASE WHEN c.expected IS NULL OR c.expected
                         = coalesce((SELECT s.version FROM log.streams s WHERE s.stream = c.stream), 0)
                    THEN 'appended' ELSE 'conflict' END ORDER BY c.ord),
           array_agg(null::integer), array_agg(null::bigint), array_agg(null::integer), array_agg(null::timestamptz),
           array_agg(null::text)
      INTO v_outcomes, v_epochs, v_positions, v_versions, v_times, v_sources
      FROM unnest(p_streams, p_expected) WITH ORDINALITY c(stream, expected, ord);
    IF p_resend OR 'conflict' = ANY (v_outcomes) THEN
        FOR v_i IN 1 .. v_commands LOOP
            CONTINUE WHEN v_outcomes[v_i] = 'appended' AND p_expected[v_i] IS NOT NULL;
            CONTINUE WHEN p_expected[v_i] IS NULL AND NOT p_resend;
            SELECT e.command_id INTO v_found FROM log.events e
             WHERE e.stream = p_streams[v_i] AND e.version = coalesce(p_expected[v_i], 0) + 1;
            CONTINUE WHEN NOT FOUND;
            v_outcomes[v_i] := 'conflict';
            CONTINUE WHEN v_found.command_id <> p_commands[v_i];
            SELECT e.epoch, e.position, e.version, e.recorded_at INTO STRICT v_found FROM log.events e
             WHERE e.stream = p_streams[v_i] AND e.command_id = p_commands[v_i]
             ORDER BY e.version DESC LIMIT 1;
            v_outcomes[v_i] := 'repeated';
            v_epochs[v_i] := v_found.epoch;
            v_positions[v_i] := v_found.position;
            v_versions[v_i] := v_found.version;
            v_times[v_i] := v_found.recorded_at;
        END LOOP;
    END IF;

    -- Names, once-keys, fences: against what the log has.
    IF cardinality(p_name_of) > 0 THEN
        FOR v_found IN
            SELECT n.of FROM unnest(p_name_of, p_names) n(of, digest)
             WHERE (SELECT true FROM log.names t WHERE t.login = session_user::name AND t.digest = n.digest)
        LOOP
            IF v_outcomes[v_found.of] = 'appended' THEN
                v_outcomes[v_found.of] := 'name_taken';
            END IF;
        END LOOP;
    END IF;
    IF cardinality(p_once_of) > 0 THEN
        FOR v_found IN
            SELECT k.of FROM unnest(p_once_of, p_once, p_once_expire) k(of, digest, expires_at)
             WHERE k.expires_at < v_head.once_from
                OR (SELECT true FROM log.once t
                     WHERE t.login = session_user::name AND t.digest = k.digest AND t.expires_at = k.expires_at)
        LOOP
            IF v_outcomes[v_found.of] = 'appended' THEN
                v_outcomes[v_found.of] := 'used';
            END IF;
        END LOOP;
    END IF;
    IF cardinality(p_party_of) > 0 THEN
        FOR v_i IN 1 .. v_commands LOOP
            IF v_outcomes[v_i] = 'appended' AND (p_as_of[v_i]::jsonb ->> 'epoch')::integer <> v_head.epoch THEN
                v_outcomes[v_i] := 'fenced';
            END IF;
        END LOOP;
        FOR v_found IN
            SELECT p.of, d.source, d.position
              FROM unnest(p_party_of, p_party_kinds, p_party_ids) p(of, kind, id)
             CROSS JOIN LATERAL (
                SELECT x.source, x.position FROM log.denials x
                 WHERE x.kind = p.kind AND x.id = p.id AND x.rule <> 'lifted'
                   AND x.position > coalesce((p_as_of[p.of]::jsonb ->> x.source)::bigint, 0)
                 ORDER BY x.position DESC LIMIT 1) d
            UNION ALL
            SELECT b.of, b.source, b.position FROM log.behind_pruning(p_party_of, p_party_kinds, p_as_of) b
             WHERE v_head.denials_pruned > 0
        LOOP
            IF v_outcomes[v_found.of] = 'appended'
                    OR v_outcomes[v_found.of] = 'fenced' AND v_found.position > v_positions[v_found.of] THEN
                v_outcomes[v_found.of] := 'fenced';
                v_sources[v_found.of] := v_found.source;
                v_positions[v_found.of] := v_found.position;
            END IF;
        END LOOP;
    END IF;

    -- The same, against earlier commands of this group. The first wins; what a loser would have taken stays free.
    IF cardinality(p_name_of) > 1 OR cardinality(p_once_of) > 1
            OR cardinality(p_denial_of) > 0 AND cardinality(p_party_of) > 0 THEN
        FOR v_found IN
            SELECT rival.of, rival.outcome, array_agg(rival.earlier) AS earlier, max(rival.source) AS source FROM (
                SELECT n.of, 1 AS rank, 'name_taken' AS outcome, o.of AS earlier, null AS source
                  FROM unnest(p_name_of, p_names) n(of, digest)
                  JOIN unnest(p_name_of, p_names) o(of, digest) ON o.digest = n.digest AND o.of < n.of
                UNION ALL
                SELECT k.of, 2, 'used', o.of, null
                  FROM unnest(p_once_of, p_once, p_once_expire) k(of, digest, expires_at)
                  JOIN unnest(p_once_of, p_once, p_once_expire) o(of, digest, expires_at)
                    ON o.digest = k.digest AND o.expires_at = k.expires_at AND o.of < k.of
                UNION ALL
                SELECT p.of, 3, 'fenced', p_event_of[d.of], split_part(p_types[d.of], '.', 1)
                  FROM unnest(p_party_of, p_party_kinds, p_party_ids) p(of, kind, id)
                  JOIN unnest(p_denial_of, p_denial_kinds, p_denial_ids, p_denial_rules) d(of, kind, id, rule)
                    ON d.kind = p.kind AND d.id = p.id AND d.rule <> 'lifted' AND p_event_of[d.of] < p.of
            ) rival GROUP BY rival.of, rival.rank, rival.outcome ORDER BY rival.of, rival.rank
        LOOP
            CONTINUE WHEN v_outcomes[v_found.of] <> 'appended';
            FOR v_i IN 1 .. cardinality(v_found.earlier) LOOP
                IF v_outcomes[v_found.earlier[v_i]] = 'appended' THEN
                    v_outcomes[v_found.of] := v_found.outcome;
                    v_sources[v_found.of] := v_found.source;
                    EXIT;
                END IF;
            END LOOP;
        END LOOP;
    END IF;

    IF 'appended' = ANY (v_outcomes) THEN
        v_now_text := to_char(v_now AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"');
        WITH facts AS MATERIALIZED (
            SELECT e.idx, e.of, e.type, e.data, e.salt, c.stream, c.expected, c.command_id, c.actor, c.correlation_id,
                   c.causation_id, sha256(e.salt || convert_to(e.data, 'UTF8')) AS data_digest,
                   v_head.position + row_number() OVER (ORDER BY e.of, e.idx) AS position,
                   (coalesce(c.expected, 0) + row_number() OVER (PARTITION BY e.of ORDER BY e.idx))::integer AS version
              FROM unnest(p_event_of, p_types, p_data, p_salts) WITH ORDINALITY e(of, type, data, salt, idx)
              JOIN unnest(v_outcomes, p_streams, p_expected, p_commands, p_actors, p_correlations, p_causations)
                   WITH ORDINALITY
                   c(outcome, stream, expected, command_id, actor, correlation_id, causation_id, ord)
                ON c.ord = e.of AND c.outcome = 'appended'
        ), written AS (
            INSERT INTO log.events (epoch, position, retention, source, stream, version, type, data, data_digest, salt,
                                    actor, command_id, correlation_id, causation_id, recorded_at, leaf_hash)
            SELECT v_head.epoch, f.position, (SELECT t.retention FROM log.types t WHERE t.type = f.type),
                   split_part(f.type, '.', 1), f.stream, f.version, f.type, f.data, f.data_digest, f.salt,
                   f.actor, f.command_id, f.correlation_id, f.causation_id, v_now,
                   sha256('\x00'::bytea || convert_to(concat_ws(E'\n',
                       'stagedoor-event-v1', v_head.epoch, f.position, f.stream, f.version, f.type,
                       encode(f.data_digest, 'hex'), f.actor, f.command_id, f.correlation_id,
                       coalesce(f.causation_id::text, ''), v_now_text), 'UTF8'))
              FROM facts f ORDER BY f.position
        ), moved AS (
            INSERT INTO log.streams AS s (stream, version)
            SELECT f.stream, max(f.version) FROM facts f WHERE f.expected IS NOT NULL GROUP BY f.stream
            ON CONFLICT (stream) DO UPDATE SET version = excluded.version
        ), last AS (
            SELECT f.of, max(f.position) AS position, max(f.version) AS version FROM facts f GROUP BY f.of
        )
        SELECT array_agg(CASE WHEN o.outcome = 'appended' THEN v_head.epoch ELSE o.epoch END ORDER BY o.ord),
               array_agg(coalesce(l.position, o.position) ORDER BY o.ord),
               array_agg(coalesce(l.version, o.version) ORDER BY o.ord),
               array_agg(CASE WHEN o.outcome = 'appended' THEN v_now ELSE o.recorded_at END ORDER BY o.ord),
               max(l.position),
               bool_and(o.outcome <> 'appended' OR l.version IS NOT NULL AND (o.expected IS NOT NULL OR l.version = 1))
          INTO v_epochs, v_positions, v_versions, v_times, v_end, v_whole
          FROM unnest(v_outcomes, v_epochs, v_positions, v_versions, v_times, p_expected) WITH ORDINALITY
               o(outcome, epoch, position, version, recorded_at, expected, ord)
          LEFT JOIN last l ON l.of = o.ord;
        IF NOT v_whole THEN
            RAISE EXCEPTION 'a command has no event, or more than the only one of its stream' USING ERRCODE = '22023';
        END IF;

        IF cardinality(p_denial_of) > 0 THEN
            SELECT array_agg(w.position ORDER BY e.idx) INTO v_event_positions
              FROM unnest(p_event_of) WITH ORDINALITY e(of, idx)
              LEFT JOIN LATERAL (
                SELECT v_positions[e.of]
                       - (SELECT count(*) FROM unnest(p_event_of) WITH ORDINALITY later(of, idx)
                           WHERE later.of = e.of AND later.idx > e.idx) AS position
                 WHERE v_outcomes[e.of] = 'appended') w ON true;
            INSERT INTO log.denials (number, position, epoch, source, kind, id, rule, except_id, until, recorded_at)
            SELECT v_head.denial_number + row_number() OVER (ORDER BY v_event_positions[d.of], d.idx),
                   v_event_positions[d.of], v_head.epoch, split_part(p_types[d.of], '.', 1),
                   d.kind, d.id, d.rule, d.except_id, d.until, v_now
              FROM unnest(p_denial_of, p_denial_kinds, p_denial_ids, p_denial_rules, p_denial_excepts, p_denial_untils)
                   WITH ORDINALITY d(of, kind, id, rule, except_id, until, idx)
             WHERE v_event_positions[d.of] IS NOT NULL;
            GET DIAGNOSTICS v_denials = ROW_COUNT;
            -- A fence of this group that met a denial of this group knows only now where that is.
            FOR v_found IN
                SELECT p.of, max(v_event_positions[d.of]) AS position
                  FROM unnest(p_party_of, p_party_kinds, p_party_ids) p(of, kind, id)
                  JOIN unnest(p_denial_of, p_denial_kinds, p_denial_ids, p_denial_rules) d(of, kind, id, rule)
                    ON d.kind = p.kind AND d.id = p.id AND d.rule <> 'lifted' AND p_event_of[d.of] < p.of
                 WHERE v_outcomes[p.of] = 'fenced' AND v_positions[p.of] IS NULL GROUP BY p.of
            LOOP
                v_positions[v_found.of] := v_found.position;
            END LOOP;
        END IF;
        IF cardinality(p_name_of) > 0 THEN
            INSERT INTO log.names (login, digest, position)
            SELECT DISTINCT session_user::name, n.digest, v_positions[n.of]
              FROM unnest(p_name_of, p_names) n(of, digest) WHERE v_outcomes[n.of] = 'appended';
        END IF;
        IF cardinality(p_once_of) > 0 THEN
            INSERT INTO log.once (login, digest, expires_at)
            SELECT DISTINCT session_user::name, k.digest, k.expires_at
              FROM unnest(p_once_of, p_once, p_once_expire) k(of, digest, expires_at)
             WHERE v_outcomes[k.of] = 'appended';
        END IF;
        UPDATE log.head SET epoch = v_head.epoch, position = v_end, denial_number = denial_number + v_denials,
                            recorded_at = v_now, server_started_at = v_started;
        -- A hint, which anybody could send: a listener that knows all denials up to there need not look for more.
        PERFORM pg_notify('stagedoor', v_head.epoch || ' ' || v_head.denial_number + v_denials);
    ELSIF 'repeated' = ANY (v_outcomes) OR v_head.server_started_at IS DISTINCT FROM v_started THEN
        -- The answer is an acknowledgement: a commit that writes waits for the disk, and for a synchronous standby,
        -- behind what was appended before. And whoever decided in another epoch has to hear of this one.
        UPDATE log.head SET epoch = v_head.epoch, server_started_at = v_started;
    END IF;
END $$;
REVOKE ALL ON FUNCTION log.append FROM PUBLIC;
