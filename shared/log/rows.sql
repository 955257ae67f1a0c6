-- Row changes to the tables of the login's own schema. These functions run with the rights of whoever calls them.

-- p_batches: [{op, table, key, columns, stamps, rows}], applied in order, each with one statement. A row is
-- {c: number of its command, k: how many of its events come after the one of this row (none: 0), w: what it is found by,
-- r: what it gets}; rows of commands that did not win are left out.
--   put     r has `columns`; `key` is the primary key, `rest` all other columns of the table
--   patch   w has `key`, r has `columns`; `nulls` are columns that must be null
--   delete  w has `key`; `nulls` as above
-- `stamps` names, for columns that only the append knows: position, epoch or recorded_at.
CREATE OR REPLACE FUNCTION log.write_rows(
    p_batches jsonb, p_won boolean[], p_epochs integer[], p_positions bigint[], p_times timestamptz[]
) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_batch record;
    v_table text;
    v_found text;
    v_sql text;
BEGIN
    FOR v_batch IN
        SELECT b.op, b."table", b.key, b.nulls, b.columns, b.rest, coalesce(b.stamps, '{}') AS stamps, b.rows
          FROM jsonb_to_recordset(p_batches)
               b(op text, "table" text, key text[], nulls text[], columns text[], rest text[], stamps jsonb, rows jsonb)
    LOOP
        v_table := format('%I.%I', session_user, v_batch."table");
        IF v_batch.op = 'put' THEN
            SELECT format('INSERT INTO %1$s (%2$s) SELECT %3$s'
                          ' FROM jsonb_to_recordset($1) b(c integer, k integer, r jsonb),'
                          ' LATERAL jsonb_populate_record(null::%1$s, b.r) v WHERE $2[b.c] ON CONFLICT (%4$s) DO ',
                          v_table,
                          string_agg(quote_ident(name), ', ' ORDER BY ord),
                          string_agg(log.stamped(v_batch.stamps ->> name, 'v.' || quote_ident(name)), ', ' ORDER BY ord),
                          (SELECT string_agg(quote_ident(name), ', ') FROM unnest(v_batch.key) k(name)))
              INTO STRICT v_sql FROM unnest(v_batch.columns) WITH ORDINALITY c(name, ord);
            v_sql := v_sql || coalesce('UPDATE SET ' || (SELECT string_agg(format('%1$I = excluded.%1$I', name), ', ')
                                                          FROM unnest(v_batch.rest) r(name)), 'NOTHING');
        ELSE
            SELECT string_agg(condition, ' AND ') INTO v_found FROM (
                SELECT format('t.%1$I = w.%1$I', name) FROM unnest(v_batch.key) k(name)
                UNION ALL SELECT format('t.%I IS NULL', name) FROM unnest(v_batch.nulls) n(name)) c(condition);
            IF v_batch.op = 'patch' THEN
                SELECT format('UPDATE %1$s t SET %2$s'
                              ' FROM jsonb_to_recordset($1) b(c integer, k integer, w jsonb, r jsonb),'
                              ' LATERAL jsonb_populate_record(null::%1$s, b.w) w,'
                              ' LATERAL jsonb_populate_record(null::%1$s, b.r) v WHERE $2[b.c] AND %3$s',
                              v_table,
                              string_agg(format('%I = %s', name,
                                         log.stamped(v_batch.stamps ->> name, 'v.' || quote_ident(name))), ', '),
                              v_found)
                  INTO STRICT v_sql FROM unnest(v_batch.columns) c(name);
            ELSIF v_batch.op = 'delete' THEN
                v_sql := format('DELETE FROM %1$s t USING jsonb_to_recordset($1) b(c integer, w jsonb),'
                                ' LATERAL jsonb_populate_record(null::%1$s, b.w) w WHERE $2[b.c] AND %2$s',
                                v_table, v_found);
            END IF;
        END IF;
        EXECUTE v_sql USING v_batch.rows, p_won, p_epochs, p_positions, p_times;
    END LOOP;
END $$;
REVOKE ALL ON FUNCTION log.write_rows FROM PUBLIC;

-- The SQL for a value: of the row, or of the append.
CREATE OR REPLACE FUNCTION log.stamped(p_stamp text, p_value text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE p_stamp WHEN 'epoch' THEN '$3[b.c]' WHEN 'position' THEN '($4[b.c] - coalesce(b.k, 0))'
                        WHEN 'recorded_at' THEN '$5[b.c]' ELSE p_value END
$$;
REVOKE ALL ON FUNCTION log.stamped FROM PUBLIC;

-- log.append, and in the same statement what the login's own tables learn of the commands that were appended.
-- p_commands has the arrays as members: one text is sent and taken apart in less time than so many arrays.
CREATE OR REPLACE FUNCTION log.append_with_rows(
    p_commands json, p_resend boolean, p_batches jsonb,
    OUT v_outcomes text[], OUT v_epochs integer[], OUT v_positions bigint[], OUT v_versions integer[],
    OUT v_times timestamptz[], OUT v_sources text[]
)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_won boolean[];
BEGIN
    SELECT a.v_outcomes, a.v_epochs, a.v_positions, a.v_versions, a.v_times, a.v_sources
      INTO STRICT v_outcomes, v_epochs, v_positions, v_versions, v_times, v_sources
      FROM json_to_record(p_commands) c(
        streams text[], expected integer[], commands uuid[], actors text[], correlations text[],
        causations bigint[], as_of text[],
        event_of integer[], types text[], data text[], salts bytea[],
        denial_of integer[], denial_kinds text[], denial_ids text[], denial_rules text[], denial_excepts text[],
        denial_untils timestamptz[],
        name_of integer[], names bytea[], once_of integer[], once bytea[], once_expire timestamptz[],
        party_of integer[], party_kinds text[], party_ids text[])
     CROSS JOIN LATERAL log.append(
        c.streams, c.expected, c.commands, c.actors, c.correlations, c.causations, c.as_of,
        c.event_of, c.types, c.data, c.salts,
        c.denial_of, c.denial_kinds, c.denial_ids, c.denial_rules, c.denial_excepts, c.denial_untils,
        c.name_of, c.names, c.once_of, c.once, c.once_expire, c.party_of, c.party_kinds, c.party_ids, p_resend) a;
    IF p_batches IS NOT NULL THEN
        SELECT array_agg(o.outcome = 'appended' ORDER BY o.ord) INTO v_won
          FROM unnest(v_outcomes) WITH ORDINALITY o(outcome, ord);
        IF true = ANY (v_won) THEN
            PERFORM log.write_rows(p_batches, v_won, v_epochs, v_positions, v_times);
        END IF;
    END IF;
END $$;
REVOKE ALL ON FUNCTION log.append_with_rows FROM PUBLIC;

-- A step of a projection of other services' facts: its rows, and its checkpoint from p_expected to p_position.
-- False, and nothing has changed, if the checkpoint is not at p_expected any more.
CREATE OR REPLACE FUNCTION log.apply(
    p_projection text, p_source text, p_expected bigint, p_position bigint, p_batches jsonb
) RETURNS boolean
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_moved integer;
BEGIN
    IF p_position < p_expected THEN
        RAISE EXCEPTION 'a checkpoint does not go back' USING ERRCODE = '22023';
    END IF;
    IF p_expected = 0 THEN
        EXECUTE format('INSERT INTO %I.checkpoints (projection, source, position) VALUES ($1, $2, 0)'
                       ' ON CONFLICT (projection, source) DO NOTHING', session_user) USING p_projection, p_source;
    END IF;
    EXECUTE format('UPDATE %I.checkpoints SET position = $4 WHERE projection = $1 AND source = $2 AND position = $3',
                   session_user) USING p_projection, p_source, p_expected, p_position;
    GET DIAGNOSTICS v_moved = ROW_COUNT;
    IF v_moved = 0 THEN
        RETURN false;
    END IF;
    IF p_batches IS NOT NULL THEN
        PERFORM log.write_rows(p_batches, ARRAY[true], null, null, null);
    END IF;
    RETURN true;
END $$;
REVOKE ALL ON FUNCTION log.apply FROM PUBLIC;
