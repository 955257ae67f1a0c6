-- Read models: which tables are made of facts alone, and how they are made again beside the live ones.
--
-- A shadow of a table t is t__next (for a rebuild) or t__check (for a comparison). It is fed by log.apply, under a
-- checkpoint whose source is the run that feeds it; a run that was overtaken by another finds its checkpoint gone.

-- The login's own read model of this name.
CREATE OR REPLACE FUNCTION log.own_read_model(p_projection text) RETURNS log.read_models
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_model log.read_models;
BEGIN
    SELECT * INTO v_model FROM log.read_models m WHERE m.login = session_user::name AND m.projection = p_projection;
    IF NOT FOUND THEN
        RAISE EXCEPTION '% has no read model %', session_user, p_projection USING ERRCODE = '42501';
    END IF;
    RETURN v_model;
END $$;
REVOKE ALL ON FUNCTION log.own_read_model FROM PUBLIC;

CREATE OR REPLACE FUNCTION log.read_model_versions() RETURNS TABLE (projection text, version integer, rebuilt_to bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT m.projection, m.version, m.rebuilt_to FROM log.read_models m WHERE m.login = session_user::name
$$;
REVOKE ALL ON FUNCTION log.read_model_versions FROM PUBLIC;

-- Make empty shadows with the indexes and constraints of the live tables, in the place of any that there are.
CREATE OR REPLACE FUNCTION log.begin_shadow(p_projection text, p_kind text, p_run text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_model log.read_models := log.own_read_model(p_projection);
    v_schema name := session_user;
    v_table text;
    v_shadow text;
    v_index record;
    v_made text;
BEGIN
    IF p_kind NOT IN ('next', 'check') OR p_run !~ '^[A-Za-z0-9_-]{16,64}$' THEN
        RAISE EXCEPTION 'a shadow is next or check, and has a run' USING ERRCODE = '22023';
    END IF;
    EXECUTE format('DELETE FROM %I.checkpoints WHERE projection = $1', v_schema) USING p_projection || '__' || p_kind;
    FOREACH v_table IN ARRAY v_model.tables LOOP
        v_shadow := v_table || '__' || p_kind;
        EXECUTE format('DROP TABLE IF EXISTS %I.%I', v_schema, v_shadow);
        EXECUTE format('CREATE TABLE %1$I.%2$I (LIKE %1$I.%3$I INCLUDING ALL EXCLUDING INDEXES)',
                       v_schema, v_shadow, v_table);
        FOR v_index IN
            SELECT i.relname AS name, pg_get_indexdef(x.indexrelid) AS definition, pg_get_constraintdef(c.oid) AS as_constraint
              FROM pg_index x
              JOIN pg_class i ON i.oid = x.indexrelid
              LEFT JOIN pg_constraint c ON c.conindid = x.indexrelid AND c.conrelid = x.indrelid
             WHERE x.indrelid = format('%I.%I', v_schema, v_table)::regclass
             ORDER BY x.indexrelid
        LOOP
            IF v_index.as_constraint IS NOT NULL THEN
                EXECUTE format('ALTER TABLE %I.%I ADD CONSTRAINT %I %s',
                               v_schema, v_shadow, v_index.name || '__' || p_kind, v_index.as_constraint);
            ELSE
                v_made := replace(v_index.definition,
                                  format('INDEX %I ON %I.%I ', v_index.name, v_schema, v_table),
                                  format('INDEX %I ON %I.%I ', v_index.name || '__' || p_kind, v_schema, v_shadow));
                IF v_made = v_index.definition THEN
                    RAISE EXCEPTION 'the index % cannot be made again', v_index.name;
                END IF;
                EXECUTE v_made;
            END IF;
        END LOOP;
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I.%I TO %I', v_schema, v_shadow, v_schema);
    END LOOP;
    EXECUTE format('INSERT INTO %I.checkpoints (projection, source, position) VALUES ($1, $2, -1)', v_schema)
        USING p_projection || '__' || p_kind, p_run;
END $$;
REVOKE ALL ON FUNCTION log.begin_shadow FROM PUBLIC;

-- Let the planner know what is in the shadows.
CREATE OR REPLACE FUNCTION log.analyze_shadow(p_projection text, p_kind text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_table text;
BEGIN
    FOREACH v_table IN ARRAY (log.own_read_model(p_projection)).tables LOOP
        EXECUTE format('ANALYZE %I.%I', session_user, v_table || '__' || p_kind);
    END LOOP;
END $$;
REVOKE ALL ON FUNCTION log.analyze_shadow FROM PUBLIC;

-- Where the run of a shadow stands, held until the end of the transaction; null if another run has taken its place.
CREATE OR REPLACE FUNCTION log.shadow_position(p_projection text, p_kind text, p_run text) RETURNS bigint
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_position bigint;
BEGIN
    EXECUTE format('SELECT position FROM %I.checkpoints WHERE projection = $1 AND source = $2 FOR UPDATE', session_user)
       INTO v_position USING p_projection || '__' || p_kind, p_run;
    RETURN v_position;
END $$;
REVOKE ALL ON FUNCTION log.shadow_position FROM PUBLIC;

CREATE OR REPLACE FUNCTION log.drop_shadow(p_projection text, p_kind text, p_run text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_model log.read_models := log.own_read_model(p_projection);
    v_table text;
BEGIN
    IF log.shadow_position(p_projection, p_kind, p_run) IS NULL THEN
        RETURN;
    END IF;
    EXECUTE format('DELETE FROM %I.checkpoints WHERE projection = $1', session_user)
        USING p_projection || '__' || p_kind;
    FOREACH v_table IN ARRAY v_model.tables LOOP
        EXECUTE format('DROP TABLE IF EXISTS %I.%I', session_user, v_table || '__' || p_kind);
    END LOOP;
END $$;
REVOKE ALL ON FUNCTION log.drop_shadow FROM PUBLIC;

-- Hold the gate to the end of the transaction: nothing is appended meanwhile. A caller that stops in between is thrown
-- out before anybody who waits at the gate gives up.
CREATE OR REPLACE FUNCTION log.hold_gate() RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM log.read_models m WHERE m.login = session_user::name) THEN
        RAISE EXCEPTION '% has no read model', session_user USING ERRCODE = '42501';
    END IF;
    PERFORM set_config('lock_timeout', '1000', true);
    LOCK TABLE log.gate IN EXCLUSIVE MODE;
    PERFORM set_config('lock_timeout', '100', true);
    PERFORM set_config('transaction_timeout', '1000', true);
END $$;
REVOKE ALL ON FUNCTION log.hold_gate FROM PUBLIC;

-- Put the shadows of a rebuild in the place of the live tables, under the gate. False, and nothing has changed, if the
-- log has facts that are not in them. The rows of a projection of others' facts then are as of the head, and so is its
-- checkpoint. Whoever reads the live tables is waited for, as long as the caller's lock_timeout says.
CREATE OR REPLACE FUNCTION log.flip(p_projection text, p_run text, p_version integer) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
DECLARE
    v_model log.read_models := log.own_read_model(p_projection);
    v_schema name := session_user;
    v_position bigint;
    v_source text;
    v_last bigint;
    v_table text;
    v_name text;
BEGIN
    LOCK TABLE log.gate IN EXCLUSIVE MODE;
    v_position := log.shadow_position(p_projection, 'next', p_run);
    IF v_position IS NULL THEN
        RAISE EXCEPTION 'another run has taken the place of this one' USING ERRCODE = '55000';
    END IF;
    FOREACH v_source IN ARRAY v_model.sources LOOP
        SELECT e.position INTO v_last FROM log.events e WHERE e.source = v_source ORDER BY e.position DESC LIMIT 1;
        CONTINUE WHEN NOT FOUND;
        IF v_last > v_position THEN
            RETURN false;
        END IF;
        IF v_source <> v_schema THEN
            -- This also waits for a follower that is in the middle of a step, and stops the next one.
            EXECUTE format('INSERT INTO %I.checkpoints AS c (projection, source, position) VALUES ($1, $2, $3)'
                           ' ON CONFLICT (projection, source) DO UPDATE SET position = excluded.position', v_schema)
                USING p_projection, v_source, v_last;
        END IF;
    END LOOP;

    FOREACH v_table IN ARRAY v_model.tables LOOP
        IF log.shape(v_schema, v_table) IS DISTINCT FROM log.shape(v_schema, v_table || '__next') THEN
            RAISE EXCEPTION 'the table % was changed meanwhile', v_table USING ERRCODE = '55000';
        END IF;
    END LOOP;
    EXECUTE (SELECT format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE',
                           string_agg(format('%I.%I', v_schema, t.name), ', ' ORDER BY t.name))
               FROM unnest(v_model.tables) t(name));
    FOREACH v_table IN ARRAY v_model.tables LOOP
        EXECUTE format('DROP TABLE %I.%I', v_schema, v_table);
        EXECUTE format('ALTER TABLE %I.%I RENAME TO %I', v_schema, v_table || '__next', v_table);
        FOR v_name IN
            SELECT i.relname FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
             WHERE x.indrelid = format('%I.%I', v_schema, v_table)::regclass
        LOOP    -- a constraint goes by the name of its index
            EXECUTE format('ALTER INDEX %I.%I RENAME TO %I', v_schema, v_name, regexp_replace(v_name, '__next$', ''));
        END LOOP;
    END LOOP;
    EXECUTE format('DELETE FROM %I.checkpoints WHERE projection = $1', v_schema) USING p_projection || '__next';
    -- Whoever remembers an answer with the checkpoints that it was given at has to forget it: other rows may be there
    -- now, at the same position. No source has such a name.
    EXECUTE format('INSERT INTO %I.checkpoints AS c (projection, source, position) VALUES ($1, ''(rebuilds)'', 1)'
                   ' ON CONFLICT (projection, source) DO UPDATE SET position = c.position + 1', v_schema)
        USING p_projection;
    UPDATE log.read_models m SET version = p_version, rebuilt_to = v_position
     WHERE m.login = v_model.login AND m.projection = v_model.projection;
    RETURN true;
END $$;
REVOKE ALL ON FUNCTION log.flip FROM PUBLIC;

-- The columns of a table.
CREATE OR REPLACE FUNCTION log.shape(p_schema name, p_table text) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT array_agg(concat_ws(' ', a.attname, format_type(a.atttypid, a.atttypmod), a.attcollation, a.attnotnull)
                     ORDER BY a.attnum)
      FROM pg_attribute a
     WHERE a.attrelid = to_regclass(format('%I.%I', p_schema, p_table)) AND a.attnum > 0 AND NOT a.attisdropped
$$;
REVOKE ALL ON FUNCTION log.shape FROM PUBLIC;
