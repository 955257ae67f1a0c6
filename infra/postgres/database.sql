-- What holds for the database as a whole: nobody has anything that was not given to them by name.
REVOKE ALL ON SCHEMA public FROM PUBLIC;
DO $$
BEGIN
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('ALTER DATABASE %I SET default_transaction_isolation = ''read committed''', current_database());
    EXECUTE format('ALTER DATABASE %I SET timezone = ''UTC''', current_database());
    EXECUTE format('ALTER DATABASE %I SET jit = off', current_database());
END $$;
