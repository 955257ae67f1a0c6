-- The database of before there were steps, as pg_dump wrote it; without the partitions, which have dates in their names, and
-- without all functions but two.
CREATE SCHEMA identity;
ALTER SCHEMA identity OWNER TO postgres;
CREATE SCHEMA ledger;
ALTER SCHEMA ledger OWNER TO postgres;
CREATE SCHEMA log;
ALTER SCHEMA log OWNER TO log_owner;
CREATE SCHEMA registry;
ALTER SCHEMA registry OWNER TO postgres;
CREATE SCHEMA resource;
ALTER SCHEMA resource OWNER TO postgres;
CREATE SCHEMA token_issuer;
ALTER SCHEMA token_issuer OWNER TO postgres;
CREATE TABLE log.head (
    only_one boolean DEFAULT true NOT NULL,
    epoch integer NOT NULL,
    "position" bigint NOT NULL,
    denial_number bigint NOT NULL,
    recorded_at timestamp with time zone NOT NULL,
    server_started_at timestamp with time zone,
    events_until bigint NOT NULL,
    once_from timestamp with time zone NOT NULL,
    once_until timestamp with time zone NOT NULL,
    denials_pruned bigint DEFAULT 0 NOT NULL,
    CONSTRAINT head_only_one_check CHECK (only_one)
)
WITH (fillfactor='20', autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='5000');
ALTER TABLE log.head OWNER TO log_owner;
CREATE TABLE log.denials (
    number bigint NOT NULL,
    "position" bigint NOT NULL,
    epoch integer NOT NULL,
    source text NOT NULL,
    kind text NOT NULL,
    id text NOT NULL,
    rule text NOT NULL,
    except_id text,
    until timestamp with time zone,
    recorded_at timestamp with time zone NOT NULL,
    CONSTRAINT denials_except_id_check CHECK ((octet_length(except_id) <= 600)),
    CONSTRAINT denials_id_check CHECK (((octet_length(id) >= 1) AND (octet_length(id) <= 1200))),
    CONSTRAINT denials_rule_check CHECK ((rule = ANY (ARRAY['standing'::text, 'cut_off'::text, 'lifted'::text])))
);
ALTER TABLE log.denials OWNER TO log_owner;
CREATE TABLE log.read_models (
    login name NOT NULL,
    projection text NOT NULL,
    sources text[] NOT NULL,
    tables text[] NOT NULL,
    version integer NOT NULL,
    rebuilt_to bigint NOT NULL,
    CONSTRAINT read_models_projection_check CHECK ((projection ~ '^[a-z][a-z_]*[a-z]$'::text))
);
ALTER TABLE log.read_models OWNER TO log_owner;
CREATE TABLE log.events (
    epoch integer NOT NULL,
    "position" bigint NOT NULL,
    retention text NOT NULL,
    source text NOT NULL,
    stream text NOT NULL,
    version integer NOT NULL,
    type text NOT NULL,
    data text NOT NULL,
    data_digest bytea NOT NULL,
    salt bytea NOT NULL,
    actor text NOT NULL,
    command_id uuid NOT NULL,
    correlation_id text NOT NULL,
    causation_id bigint,
    recorded_at timestamp with time zone NOT NULL,
    leaf_hash bytea NOT NULL,
    CONSTRAINT events_actor_check CHECK ((((octet_length(actor) >= 1) AND (octet_length(actor) <= 600)) AND (strpos(actor, '
'::text) = 0))),
    CONSTRAINT events_check CHECK ((causation_id < "position")),
    CONSTRAINT events_correlation_id_check CHECK ((((octet_length(correlation_id) >= 1) AND (octet_length(correlation_id) <= 200)) AND (strpos(correlation_id, '
'::text) = 0))),
    CONSTRAINT events_data_check CHECK ((octet_length(data) <= 262144)),
    CONSTRAINT events_salt_check CHECK ((octet_length(salt) = 16)),
    CONSTRAINT events_stream_check CHECK ((((octet_length(stream) >= 3) AND (octet_length(stream) <= 600)) AND (strpos(stream, '
'::text) = 0))),
    CONSTRAINT events_type_check CHECK (((octet_length(type) <= 200) AND (strpos(type, '
'::text) = 0))),
    CONSTRAINT events_version_check CHECK ((version > 0))
)
PARTITION BY LIST (retention);
ALTER TABLE log.events OWNER TO log_owner;
CREATE FUNCTION log.stamped(p_stamp text, p_value text) RETURNS text
    LANGUAGE sql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
    SELECT CASE p_stamp WHEN 'epoch' THEN '$3[b.c]' WHEN 'position' THEN '($4[b.c] - coalesce(b.k, 0))'
                        WHEN 'recorded_at' THEN '$5[b.c]' ELSE p_value END
$_$;
CREATE FUNCTION log.write_rows(p_batches jsonb, p_won boolean[], p_epochs integer[], p_positions bigint[], p_times timestamp with time zone[]) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
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
END $_$;
CREATE TABLE identity.checkpoints (
    projection text NOT NULL,
    source text NOT NULL,
    "position" bigint NOT NULL
);
ALTER TABLE identity.checkpoints OWNER TO postgres;
CREATE TABLE identity.consents (
    sub text NOT NULL,
    client_id text NOT NULL,
    scope text NOT NULL,
    "position" bigint NOT NULL
);
ALTER TABLE identity.consents OWNER TO log_owner;
CREATE TABLE identity.instance (
    mark text NOT NULL,
    "position" bigint NOT NULL
);
ALTER TABLE identity.instance OWNER TO postgres;
CREATE TABLE identity.session_activity (
    sid text NOT NULL,
    seen_at timestamp with time zone NOT NULL
);
ALTER TABLE identity.session_activity OWNER TO postgres;
CREATE TABLE identity.sessions (
    sid text NOT NULL,
    sub text NOT NULL,
    secret_digest text NOT NULL,
    auth_time timestamp with time zone NOT NULL,
    amr text[] NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    user_agent text,
    started_position bigint NOT NULL,
    auth_position bigint NOT NULL
);
ALTER TABLE identity.sessions OWNER TO log_owner;
CREATE TABLE identity.sign_in_failures (
    account text NOT NULL,
    device text NOT NULL,
    address text NOT NULL,
    failures double precision NOT NULL,
    counted_at timestamp with time zone NOT NULL
);
ALTER TABLE identity.sign_in_failures OWNER TO postgres;
CREATE TABLE identity.signed_userinfo (
    client_id text NOT NULL,
    "position" bigint NOT NULL
);
ALTER TABLE identity.signed_userinfo OWNER TO log_owner;
CREATE TABLE identity.uninstalled_applications (
    client_id text NOT NULL,
    "position" bigint NOT NULL
);
ALTER TABLE identity.uninstalled_applications OWNER TO log_owner;
CREATE TABLE identity.users (
    sub text NOT NULL,
    user_name text NOT NULL,
    kind text NOT NULL,
    enabled boolean NOT NULL,
    roles text[] NOT NULL,
    given_name text,
    family_name text,
    display_name text,
    email text,
    email_verified boolean NOT NULL,
    locale text,
    zoneinfo text,
    sessions_cut_off bigint NOT NULL,
    kept_session text,
    registered_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    "position" bigint NOT NULL,
    phone_number text,
    phone_number_verified boolean DEFAULT false NOT NULL,
    street_address text,
    locality text,
    region text,
    postal_code text,
    country text
);
ALTER TABLE identity.users OWNER TO log_owner;
CREATE TABLE identity.vault (
    sub text NOT NULL,
    kind text NOT NULL,
    value bytea NOT NULL
);
ALTER TABLE identity.vault OWNER TO postgres;
CREATE TABLE ledger.checkpoints (
    projection text NOT NULL,
    source text NOT NULL,
    "position" bigint NOT NULL
);
ALTER TABLE ledger.checkpoints OWNER TO postgres;
CREATE TABLE log.care_taken (
    only_one boolean DEFAULT true NOT NULL,
    at timestamp with time zone NOT NULL,
    CONSTRAINT care_taken_only_one_check CHECK (only_one)
);
ALTER TABLE log.care_taken OWNER TO log_owner;
CREATE TABLE log.caretakers (
    login name NOT NULL
);
ALTER TABLE log.caretakers OWNER TO log_owner;
CREATE TABLE log.categories (
    category text NOT NULL,
    login name NOT NULL,
    CONSTRAINT categories_category_check CHECK ((category ~ '^[a-z][a-z_]*$'::text))
);
ALTER TABLE log.categories OWNER TO log_owner;
CREATE TABLE log.denial_horizons (
    source text NOT NULL,
    kind text NOT NULL,
    login name NOT NULL,
    "position" bigint NOT NULL
);
ALTER TABLE log.denial_horizons OWNER TO log_owner;
CREATE TABLE log.epochs (
    epoch integer NOT NULL,
    system_identifier bigint NOT NULL,
    timeline integer NOT NULL,
    first_position bigint NOT NULL,
    began_at timestamp with time zone NOT NULL
);
ALTER TABLE log.epochs OWNER TO log_owner;
CREATE TABLE log.events_expiring (
    epoch integer CONSTRAINT events_epoch_not_null NOT NULL,
    "position" bigint CONSTRAINT events_position_not_null NOT NULL,
    retention text CONSTRAINT events_retention_not_null NOT NULL,
    source text CONSTRAINT events_source_not_null NOT NULL,
    stream text CONSTRAINT events_stream_not_null NOT NULL,
    version integer CONSTRAINT events_version_not_null NOT NULL,
    type text CONSTRAINT events_type_not_null NOT NULL,
    data text CONSTRAINT events_data_not_null NOT NULL,
    data_digest bytea CONSTRAINT events_data_digest_not_null NOT NULL,
    salt bytea CONSTRAINT events_salt_not_null NOT NULL,
    actor text CONSTRAINT events_actor_not_null NOT NULL,
    command_id uuid CONSTRAINT events_command_id_not_null NOT NULL,
    correlation_id text CONSTRAINT events_correlation_id_not_null NOT NULL,
    causation_id bigint,
    recorded_at timestamp with time zone CONSTRAINT events_recorded_at_not_null NOT NULL,
    leaf_hash bytea CONSTRAINT events_leaf_hash_not_null NOT NULL,
    CONSTRAINT events_actor_check CHECK ((((octet_length(actor) >= 1) AND (octet_length(actor) <= 600)) AND (strpos(actor, '
'::text) = 0))),
    CONSTRAINT events_check CHECK ((causation_id < "position")),
    CONSTRAINT events_correlation_id_check CHECK ((((octet_length(correlation_id) >= 1) AND (octet_length(correlation_id) <= 200)) AND (strpos(correlation_id, '
'::text) = 0))),
    CONSTRAINT events_data_check CHECK ((octet_length(data) <= 262144)),
    CONSTRAINT events_salt_check CHECK ((octet_length(salt) = 16)),
    CONSTRAINT events_stream_check CHECK ((((octet_length(stream) >= 3) AND (octet_length(stream) <= 600)) AND (strpos(stream, '
'::text) = 0))),
    CONSTRAINT events_type_check CHECK (((octet_length(type) <= 200) AND (strpos(type, '
'::text) = 0))),
    CONSTRAINT events_version_check CHECK ((version > 0))
)
PARTITION BY RANGE ("position");
ALTER TABLE log.events_expiring OWNER TO log_owner;
CREATE TABLE log.events_lasting (
    epoch integer CONSTRAINT events_epoch_not_null NOT NULL,
    "position" bigint CONSTRAINT events_position_not_null NOT NULL,
    retention text CONSTRAINT events_retention_not_null NOT NULL,
    source text CONSTRAINT events_source_not_null NOT NULL,
    stream text CONSTRAINT events_stream_not_null NOT NULL,
    version integer CONSTRAINT events_version_not_null NOT NULL,
    type text CONSTRAINT events_type_not_null NOT NULL,
    data text CONSTRAINT events_data_not_null NOT NULL,
    data_digest bytea CONSTRAINT events_data_digest_not_null NOT NULL,
    salt bytea CONSTRAINT events_salt_not_null NOT NULL,
    actor text CONSTRAINT events_actor_not_null NOT NULL,
    command_id uuid CONSTRAINT events_command_id_not_null NOT NULL,
    correlation_id text CONSTRAINT events_correlation_id_not_null NOT NULL,
    causation_id bigint,
    recorded_at timestamp with time zone CONSTRAINT events_recorded_at_not_null NOT NULL,
    leaf_hash bytea CONSTRAINT events_leaf_hash_not_null NOT NULL,
    CONSTRAINT events_actor_check CHECK ((((octet_length(actor) >= 1) AND (octet_length(actor) <= 600)) AND (strpos(actor, '
'::text) = 0))),
    CONSTRAINT events_check CHECK ((causation_id < "position")),
    CONSTRAINT events_correlation_id_check CHECK ((((octet_length(correlation_id) >= 1) AND (octet_length(correlation_id) <= 200)) AND (strpos(correlation_id, '
'::text) = 0))),
    CONSTRAINT events_data_check CHECK ((octet_length(data) <= 262144)),
    CONSTRAINT events_salt_check CHECK ((octet_length(salt) = 16)),
    CONSTRAINT events_stream_check CHECK ((((octet_length(stream) >= 3) AND (octet_length(stream) <= 600)) AND (strpos(stream, '
'::text) = 0))),
    CONSTRAINT events_type_check CHECK (((octet_length(type) <= 200) AND (strpos(type, '
'::text) = 0))),
    CONSTRAINT events_version_check CHECK ((version > 0))
)
PARTITION BY RANGE ("position");
ALTER TABLE log.events_lasting OWNER TO log_owner;
CREATE TABLE log.gate (
);
ALTER TABLE log.gate OWNER TO log_owner;
CREATE TABLE log.leader (
);
ALTER TABLE log.leader OWNER TO log_owner;
CREATE TABLE log.names (
    login name NOT NULL,
    digest bytea NOT NULL,
    "position" bigint NOT NULL,
    CONSTRAINT names_digest_check CHECK (((octet_length(digest) >= 16) AND (octet_length(digest) <= 64)))
);
ALTER TABLE log.names OWNER TO log_owner;
CREATE TABLE log.once (
    login name NOT NULL,
    digest bytea NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    CONSTRAINT once_digest_check CHECK (((octet_length(digest) >= 16) AND (octet_length(digest) <= 64)))
)
PARTITION BY RANGE (expires_at);
ALTER TABLE log.once OWNER TO log_owner;
CREATE TABLE log.readers (
    login name NOT NULL,
    source text NOT NULL
);
ALTER TABLE log.readers OWNER TO log_owner;
CREATE TABLE log.streams (
    stream text NOT NULL,
    version integer NOT NULL
)
WITH (fillfactor='85');
ALTER TABLE log.streams OWNER TO log_owner;
CREATE TABLE log.types (
    type text NOT NULL,
    login name NOT NULL,
    retention text NOT NULL,
    denial_kinds text[] NOT NULL,
    CONSTRAINT types_retention_check CHECK ((retention = ANY (ARRAY['lasting'::text, 'expiring'::text]))),
    CONSTRAINT types_type_check CHECK ((type ~ '^[a-z][a-z_]*\.[A-Za-z0-9]+$'::text))
);
ALTER TABLE log.types OWNER TO log_owner;
CREATE TABLE registry.applications (
    client_id text NOT NULL COLLATE pg_catalog."C",
    settings jsonb NOT NULL,
    enabled boolean NOT NULL,
    registered_at timestamp with time zone NOT NULL,
    "position" bigint NOT NULL
);
ALTER TABLE registry.applications OWNER TO log_owner;
CREATE TABLE registry.checkpoints (
    projection text NOT NULL,
    source text NOT NULL,
    "position" bigint NOT NULL
);
ALTER TABLE registry.checkpoints OWNER TO postgres;
CREATE TABLE registry.resources (
    resource_id text NOT NULL COLLATE pg_catalog."C",
    identifier text NOT NULL COLLATE pg_catalog."C",
    settings jsonb NOT NULL,
    "position" bigint NOT NULL
);
ALTER TABLE registry.resources OWNER TO log_owner;
CREATE TABLE registry.secrets (
    client_id text NOT NULL COLLATE pg_catalog."C",
    secret_id text NOT NULL COLLATE pg_catalog."C",
    added_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone
);
ALTER TABLE registry.secrets OWNER TO log_owner;
CREATE TABLE resource.checkpoints (
    projection text NOT NULL,
    source text NOT NULL,
    "position" bigint NOT NULL
);
ALTER TABLE resource.checkpoints OWNER TO postgres;
CREATE TABLE resource.merchandise (
    merchandise_id text NOT NULL COLLATE pg_catalog."C",
    sub text NOT NULL COLLATE pg_catalog."C",
    title text NOT NULL COLLATE pg_catalog."C",
    price_cents bigint NOT NULL,
    stock bigint NOT NULL,
    "position" bigint NOT NULL
);
ALTER TABLE resource.merchandise OWNER TO log_owner;
CREATE TABLE resource.tours (
    tour_id text NOT NULL COLLATE pg_catalog."C",
    sub text NOT NULL COLLATE pg_catalog."C",
    title text NOT NULL,
    venue text NOT NULL,
    city text NOT NULL,
    date text NOT NULL COLLATE pg_catalog."C",
    "position" bigint NOT NULL
);
ALTER TABLE resource.tours OWNER TO log_owner;
CREATE TABLE token_issuer.applications (
    client_id text NOT NULL,
    settings jsonb NOT NULL,
    scopes text[] NOT NULL,
    service_account text,
    enabled boolean NOT NULL,
    uninstalled boolean NOT NULL,
    "position" bigint NOT NULL
);
ALTER TABLE token_issuer.applications OWNER TO log_owner;
CREATE TABLE token_issuer.checkpoints (
    projection text NOT NULL,
    source text NOT NULL,
    "position" bigint NOT NULL
);
ALTER TABLE token_issuer.checkpoints OWNER TO postgres;
CREATE TABLE token_issuer.denials (
    kind text NOT NULL,
    id text NOT NULL,
    rule text NOT NULL,
    except_id text NOT NULL,
    "position" bigint NOT NULL
);
ALTER TABLE token_issuer.denials OWNER TO log_owner;
CREATE TABLE token_issuer.grants (
    gid text NOT NULL,
    client_id text NOT NULL,
    sub text NOT NULL,
    sid text NOT NULL,
    scopes text[] NOT NULL,
    audiences text[] NOT NULL,
    redirect_uri text NOT NULL,
    redirect_uri_given boolean NOT NULL,
    code_digest text NOT NULL,
    code_challenge text,
    nonce text,
    auth_time timestamp with time zone NOT NULL,
    amr text[] NOT NULL,
    roles text[] NOT NULL,
    opened_at timestamp with time zone NOT NULL,
    code_expires_at timestamp with time zone NOT NULL,
    refresh_expires_at timestamp with time zone,
    tokens_end_at timestamp with time zone NOT NULL,
    refresh_digest text,
    previous_digest text,
    rotated_at timestamp with time zone,
    jti text,
    token_scopes text[] NOT NULL,
    token_audiences text[] NOT NULL,
    access_token_seconds integer NOT NULL,
    ended text,
    version integer NOT NULL,
    born bigint NOT NULL,
    "position" bigint NOT NULL,
    epoch integer NOT NULL,
    issued_at timestamp with time zone NOT NULL
);
ALTER TABLE token_issuer.grants OWNER TO log_owner;
CREATE TABLE token_issuer.logout_deliveries (
    delivery_id bigint NOT NULL,
    client_id text NOT NULL,
    sub text NOT NULL,
    sid text NOT NULL,
    "position" bigint NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    failure text,
    failed_at timestamp with time zone,
    due_at timestamp with time zone,
    taken_by text
);
ALTER TABLE token_issuer.logout_deliveries OWNER TO postgres;
ALTER TABLE token_issuer.logout_deliveries ALTER COLUMN delivery_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME token_issuer.logout_deliveries_delivery_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE token_issuer.logouts (
    "position" bigint NOT NULL,
    sub text NOT NULL,
    sid text,
    kept_sid text
);
ALTER TABLE token_issuer.logouts OWNER TO postgres;
CREATE TABLE token_issuer.pushed_requests (
    digest text NOT NULL,
    client_id text NOT NULL,
    sealed text NOT NULL,
    expires_at timestamp with time zone NOT NULL
);
ALTER TABLE token_issuer.pushed_requests OWNER TO postgres;
CREATE TABLE token_issuer.reference_notes (
    jti text NOT NULL,
    label text NOT NULL,
    last_used_at timestamp with time zone
);
ALTER TABLE token_issuer.reference_notes OWNER TO postgres;
CREATE TABLE token_issuer.reference_tokens (
    jti text NOT NULL,
    digest text NOT NULL,
    kind text NOT NULL,
    client_id text NOT NULL,
    sub text NOT NULL,
    scopes text[] NOT NULL,
    audiences text[] NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    revoked text,
    "position" bigint NOT NULL,
    epoch integer NOT NULL,
    issued_at timestamp with time zone NOT NULL
);
ALTER TABLE token_issuer.reference_tokens OWNER TO log_owner;
CREATE TABLE token_issuer.resources (
    resource_id text NOT NULL,
    identifier text NOT NULL,
    settings jsonb NOT NULL,
    scopes text[] NOT NULL,
    "position" bigint NOT NULL
);
ALTER TABLE token_issuer.resources OWNER TO log_owner;
CREATE TABLE token_issuer.secrets (
    client_id text NOT NULL,
    secret_id text NOT NULL,
    digest text NOT NULL,
    expires_at timestamp with time zone
);
ALTER TABLE token_issuer.secrets OWNER TO log_owner;
CREATE TABLE token_issuer.sessions (
    sid text NOT NULL,
    sub text NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    ended boolean NOT NULL,
    "position" bigint NOT NULL
);
ALTER TABLE token_issuer.sessions OWNER TO log_owner;
CREATE TABLE token_issuer.signing_keys (
    kid text NOT NULL,
    algorithm text NOT NULL,
    use text NOT NULL,
    public_jwk jsonb NOT NULL,
    state text NOT NULL,
    announced bigint NOT NULL,
    announced_at timestamp with time zone NOT NULL,
    use_from timestamp with time zone,
    activated_at timestamp with time zone,
    retire_from timestamp with time zone
);
ALTER TABLE token_issuer.signing_keys OWNER TO log_owner;
CREATE TABLE token_issuer.users (
    sub text NOT NULL,
    kind text NOT NULL,
    roles text[] NOT NULL,
    enabled boolean NOT NULL,
    sessions_cut_off bigint NOT NULL,
    kept_session text,
    "position" bigint NOT NULL
);
ALTER TABLE token_issuer.users OWNER TO log_owner;
CREATE TABLE token_issuer.vault (
    kid text NOT NULL,
    wrapped bytea NOT NULL
);
ALTER TABLE token_issuer.vault OWNER TO postgres;
ALTER TABLE ONLY log.events ATTACH PARTITION log.events_expiring FOR VALUES IN ('expiring');
ALTER TABLE ONLY log.events ATTACH PARTITION log.events_lasting FOR VALUES IN ('lasting');
SELECT pg_catalog.setval('token_issuer.logout_deliveries_delivery_id_seq', 1, false);
ALTER TABLE ONLY identity.checkpoints
    ADD CONSTRAINT checkpoints_pkey PRIMARY KEY (projection, source);
ALTER TABLE ONLY identity.consents
    ADD CONSTRAINT consents_pkey PRIMARY KEY (sub, client_id, scope);
ALTER TABLE ONLY identity.instance
    ADD CONSTRAINT instance_pkey PRIMARY KEY (mark);
ALTER TABLE ONLY identity.session_activity
    ADD CONSTRAINT session_activity_pkey PRIMARY KEY (sid);
ALTER TABLE ONLY identity.sessions
    ADD CONSTRAINT sessions_pkey PRIMARY KEY (sid);
ALTER TABLE ONLY identity.sign_in_failures
    ADD CONSTRAINT sign_in_failures_pkey PRIMARY KEY (account, device, address);
ALTER TABLE ONLY identity.signed_userinfo
    ADD CONSTRAINT signed_userinfo_pkey PRIMARY KEY (client_id);
ALTER TABLE ONLY identity.uninstalled_applications
    ADD CONSTRAINT uninstalled_applications_pkey PRIMARY KEY (client_id);
ALTER TABLE ONLY identity.users
    ADD CONSTRAINT users_pkey PRIMARY KEY (sub);
ALTER TABLE ONLY identity.vault
    ADD CONSTRAINT vault_pkey PRIMARY KEY (sub, kind);
ALTER TABLE ONLY ledger.checkpoints
    ADD CONSTRAINT checkpoints_pkey PRIMARY KEY (projection, source);
ALTER TABLE ONLY log.care_taken
    ADD CONSTRAINT care_taken_pkey PRIMARY KEY (only_one);
ALTER TABLE ONLY log.caretakers
    ADD CONSTRAINT caretakers_pkey PRIMARY KEY (login);
ALTER TABLE ONLY log.categories
    ADD CONSTRAINT categories_pkey PRIMARY KEY (category);
ALTER TABLE ONLY log.denial_horizons
    ADD CONSTRAINT denial_horizons_pkey PRIMARY KEY (kind, source);
ALTER TABLE ONLY log.denials
    ADD CONSTRAINT denials_pkey PRIMARY KEY (number);
ALTER TABLE ONLY log.epochs
    ADD CONSTRAINT epochs_pkey PRIMARY KEY (epoch);
ALTER TABLE ONLY log.events
    ADD CONSTRAINT events_pkey PRIMARY KEY ("position", retention);
ALTER TABLE ONLY log.events_expiring
    ADD CONSTRAINT events_expiring_pkey PRIMARY KEY ("position", retention);
ALTER TABLE ONLY log.events_lasting
    ADD CONSTRAINT events_lasting_pkey PRIMARY KEY ("position", retention);
ALTER TABLE ONLY log.head
    ADD CONSTRAINT head_pkey PRIMARY KEY (only_one);
ALTER TABLE ONLY log.names
    ADD CONSTRAINT names_pkey PRIMARY KEY (login, digest);
ALTER TABLE ONLY log.once
    ADD CONSTRAINT once_pkey PRIMARY KEY (login, digest, expires_at);
ALTER TABLE ONLY log.read_models
    ADD CONSTRAINT read_models_pkey PRIMARY KEY (login, projection);
ALTER TABLE ONLY log.readers
    ADD CONSTRAINT readers_pkey PRIMARY KEY (login, source);
ALTER TABLE ONLY log.streams
    ADD CONSTRAINT streams_pkey PRIMARY KEY (stream);
ALTER TABLE ONLY log.types
    ADD CONSTRAINT types_pkey PRIMARY KEY (type);
ALTER TABLE ONLY registry.applications
    ADD CONSTRAINT applications_pkey PRIMARY KEY (client_id);
ALTER TABLE ONLY registry.checkpoints
    ADD CONSTRAINT checkpoints_pkey PRIMARY KEY (projection, source);
ALTER TABLE ONLY registry.resources
    ADD CONSTRAINT resources_pkey PRIMARY KEY (resource_id);
ALTER TABLE ONLY registry.secrets
    ADD CONSTRAINT secrets_pkey PRIMARY KEY (client_id, secret_id);
ALTER TABLE ONLY resource.checkpoints
    ADD CONSTRAINT checkpoints_pkey PRIMARY KEY (projection, source);
ALTER TABLE ONLY resource.merchandise
    ADD CONSTRAINT merchandise_pkey PRIMARY KEY (merchandise_id);
ALTER TABLE ONLY resource.tours
    ADD CONSTRAINT tours_pkey PRIMARY KEY (tour_id);
ALTER TABLE ONLY token_issuer.applications
    ADD CONSTRAINT applications_pkey PRIMARY KEY (client_id);
ALTER TABLE ONLY token_issuer.checkpoints
    ADD CONSTRAINT checkpoints_pkey PRIMARY KEY (projection, source);
ALTER TABLE ONLY token_issuer.denials
    ADD CONSTRAINT denials_pkey PRIMARY KEY (kind, id, rule, except_id);
ALTER TABLE ONLY token_issuer.grants
    ADD CONSTRAINT grants_pkey PRIMARY KEY (gid);
ALTER TABLE ONLY token_issuer.logout_deliveries
    ADD CONSTRAINT logout_deliveries_pkey PRIMARY KEY (delivery_id);
ALTER TABLE ONLY token_issuer.logouts
    ADD CONSTRAINT logouts_pkey PRIMARY KEY ("position");
ALTER TABLE ONLY token_issuer.pushed_requests
    ADD CONSTRAINT pushed_requests_pkey PRIMARY KEY (digest);
ALTER TABLE ONLY token_issuer.reference_notes
    ADD CONSTRAINT reference_notes_pkey PRIMARY KEY (jti);
ALTER TABLE ONLY token_issuer.reference_tokens
    ADD CONSTRAINT reference_tokens_pkey PRIMARY KEY (jti);
ALTER TABLE ONLY token_issuer.resources
    ADD CONSTRAINT resources_pkey PRIMARY KEY (resource_id);
ALTER TABLE ONLY token_issuer.secrets
    ADD CONSTRAINT secrets_pkey PRIMARY KEY (client_id, secret_id);
ALTER TABLE ONLY token_issuer.sessions
    ADD CONSTRAINT sessions_pkey PRIMARY KEY (sid);
ALTER TABLE ONLY token_issuer.signing_keys
    ADD CONSTRAINT signing_keys_pkey PRIMARY KEY (kid);
ALTER TABLE ONLY token_issuer.users
    ADD CONSTRAINT users_pkey PRIMARY KEY (sub);
ALTER TABLE ONLY token_issuer.vault
    ADD CONSTRAINT vault_pkey PRIMARY KEY (kid);
CREATE INDEX session_activity_by_time ON identity.session_activity USING btree (seen_at);
CREATE INDEX sessions_by_secret ON identity.sessions USING btree (secret_digest);
CREATE INDEX sessions_by_user ON identity.sessions USING btree (sub);
CREATE INDEX sign_in_failures_by_time ON identity.sign_in_failures USING btree (counted_at);
CREATE INDEX users_by_name ON identity.users USING btree (user_name);
CREATE INDEX denials_by_end ON log.denials USING btree (until);
CREATE INDEX denials_by_id ON log.denials USING btree (kind, id, "position");
CREATE INDEX events_by_source ON ONLY log.events USING btree (source, "position");
CREATE INDEX events_expiring_source_position_idx ON ONLY log.events_expiring USING btree (source, "position");
CREATE INDEX events_lasting_source_position_idx ON ONLY log.events_lasting USING btree (source, "position");
CREATE INDEX merchandise_of_user ON resource.merchandise USING btree (sub, title, merchandise_id);
CREATE INDEX tours_of_user ON resource.tours USING btree (sub, date, tour_id);
CREATE INDEX grants_by_client ON token_issuer.grants USING btree (client_id);
CREATE INDEX grants_by_session ON token_issuer.grants USING btree (sid);
CREATE INDEX grants_by_user ON token_issuer.grants USING btree (sub, client_id);
CREATE INDEX logout_deliveries_due ON token_issuer.logout_deliveries USING btree (client_id, due_at);
CREATE INDEX reference_tokens_by_client ON token_issuer.reference_tokens USING btree (client_id, "position");
CREATE INDEX reference_tokens_by_digest ON token_issuer.reference_tokens USING btree (digest);
CREATE INDEX reference_tokens_by_user ON token_issuer.reference_tokens USING btree (sub, "position");
CREATE INDEX resources_by_identifier ON token_issuer.resources USING btree (identifier);
ALTER INDEX log.events_pkey ATTACH PARTITION log.events_expiring_pkey;
ALTER INDEX log.events_by_source ATTACH PARTITION log.events_expiring_source_position_idx;
ALTER INDEX log.events_pkey ATTACH PARTITION log.events_lasting_pkey;
ALTER INDEX log.events_by_source ATTACH PARTITION log.events_lasting_source_position_idx;
GRANT USAGE ON SCHEMA identity TO identity;
GRANT ALL ON SCHEMA identity TO log_owner;
GRANT USAGE ON SCHEMA ledger TO ledger;
GRANT ALL ON SCHEMA ledger TO log_owner;
GRANT USAGE ON SCHEMA log TO registry;
GRANT USAGE ON SCHEMA log TO identity;
GRANT USAGE ON SCHEMA log TO token_issuer;
GRANT USAGE ON SCHEMA log TO resource;
GRANT USAGE ON SCHEMA log TO ledger;
REVOKE USAGE ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA registry TO registry;
GRANT ALL ON SCHEMA registry TO log_owner;
GRANT USAGE ON SCHEMA resource TO resource;
GRANT ALL ON SCHEMA resource TO log_owner;
GRANT USAGE ON SCHEMA token_issuer TO token_issuer;
GRANT ALL ON SCHEMA token_issuer TO log_owner;
GRANT SELECT(epoch) ON TABLE log.head TO registry;
GRANT SELECT(epoch) ON TABLE log.head TO identity;
GRANT SELECT(epoch) ON TABLE log.head TO token_issuer;
GRANT SELECT(epoch) ON TABLE log.head TO resource;
GRANT SELECT(epoch) ON TABLE log.head TO ledger;
GRANT SELECT("position") ON TABLE log.head TO registry;
GRANT SELECT("position") ON TABLE log.head TO identity;
GRANT SELECT("position") ON TABLE log.head TO token_issuer;
GRANT SELECT("position") ON TABLE log.head TO resource;
GRANT SELECT("position") ON TABLE log.head TO ledger;
GRANT SELECT(denial_number) ON TABLE log.head TO registry;
GRANT SELECT(denial_number) ON TABLE log.head TO identity;
GRANT SELECT(denial_number) ON TABLE log.head TO token_issuer;
GRANT SELECT(denial_number) ON TABLE log.head TO resource;
GRANT SELECT(denial_number) ON TABLE log.head TO ledger;
GRANT SELECT(recorded_at) ON TABLE log.head TO registry;
GRANT SELECT(recorded_at) ON TABLE log.head TO identity;
GRANT SELECT(recorded_at) ON TABLE log.head TO token_issuer;
GRANT SELECT(recorded_at) ON TABLE log.head TO resource;
GRANT SELECT(recorded_at) ON TABLE log.head TO ledger;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE identity.checkpoints TO identity;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE identity.checkpoints TO log_owner;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE identity.consents TO identity;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE identity.instance TO identity;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE identity.session_activity TO identity;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE identity.sessions TO identity;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE identity.sign_in_failures TO identity;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE identity.signed_userinfo TO identity;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE identity.uninstalled_applications TO identity;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE identity.users TO identity;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE identity.vault TO identity;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE ledger.checkpoints TO ledger;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE ledger.checkpoints TO log_owner;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE registry.applications TO registry;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE registry.checkpoints TO registry;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE registry.checkpoints TO log_owner;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE registry.resources TO registry;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE registry.secrets TO registry;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE resource.checkpoints TO resource;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE resource.checkpoints TO log_owner;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE resource.merchandise TO resource;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE resource.tours TO resource;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE token_issuer.applications TO token_issuer;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE token_issuer.checkpoints TO token_issuer;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE token_issuer.checkpoints TO log_owner;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE token_issuer.denials TO token_issuer;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE token_issuer.grants TO token_issuer;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE token_issuer.logout_deliveries TO token_issuer;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE token_issuer.logouts TO token_issuer;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE token_issuer.pushed_requests TO token_issuer;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE token_issuer.reference_notes TO token_issuer;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE token_issuer.reference_tokens TO token_issuer;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE token_issuer.resources TO token_issuer;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE token_issuer.secrets TO token_issuer;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE token_issuer.sessions TO token_issuer;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE token_issuer.signing_keys TO token_issuer;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE token_issuer.users TO token_issuer;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE token_issuer.vault TO token_issuer;
ALTER DEFAULT PRIVILEGES FOR ROLE log_owner REVOKE ALL ON FUNCTIONS FROM PUBLIC;
INSERT INTO log.head (epoch, position, denial_number, recorded_at, events_until, once_from, once_until)
    VALUES (0, 0, 0, '-infinity', 0, date_trunc('day', now(), 'UTC'), date_trunc('day', now(), 'UTC'));
