-- Partitions: made before they are needed, dropped when nothing in them can matter any more.

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
-- Called on a timer; also by an append that runs out of partitions because nobody called. Answers what it changed.
CREATE OR REPLACE FUNCTION log.care() RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    c_positions CONSTANT bigint := 16777216;    -- of one partition
    v_head log.head;
    v_from bigint;
    v_today timestamptz := date_trunc('day', clock_timestamp(), 'UTC');
    v_day timestamptz;
    v_changed integer := 0;
BEGIN
    SELECT * INTO STRICT v_head FROM log.head;
    IF v_head.events_until >= v_head.position + c_positions AND v_head.once_until >= v_today + interval '14 days'
            AND v_head.once_from >= v_today - interval '2 days' THEN
        RETURN 0;
    END IF;
    LOCK TABLE log.gate IN EXCLUSIVE MODE;
    SELECT * INTO STRICT v_head FROM log.head;
    v_from := v_head.events_until;
    WHILE v_from < (v_head.position / c_positions + 2) * c_positions LOOP
        PERFORM log.make_event_partition('lasting', v_from, v_from + c_positions);
        PERFORM log.make_event_partition('expiring', v_from, v_from + c_positions);
        v_from := v_from + c_positions;
        v_changed := v_changed + 1;
    END LOOP;
    v_day := v_head.once_until;
    WHILE v_day < v_today + interval '15 days' LOOP
        PERFORM log.make_once_partition(v_day);
        v_day := v_day + interval '1 day';
        v_changed := v_changed + 1;
    END LOOP;
    WHILE v_head.once_from < v_today - interval '2 days' LOOP
        EXECUTE format('DROP TABLE IF EXISTS log.%I', 'once_' || to_char(v_head.once_from, 'YYYYMMDD'));
        v_head.once_from := v_head.once_from + interval '1 day';
        v_changed := v_changed + 1;
    END LOOP;
    UPDATE log.head SET events_until = v_from, once_until = v_day, once_from = v_head.once_from;
    RETURN v_changed;
END $$;
REVOKE ALL ON FUNCTION log.care FROM PUBLIC;
