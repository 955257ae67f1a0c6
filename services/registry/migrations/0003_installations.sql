-- From which document an application was installed, whatever became of it.
CREATE TABLE IF NOT EXISTS registry.installations (
    client_id text COLLATE "C" PRIMARY KEY,
    document text NOT NULL,
    document_digest text COLLATE "C" NOT NULL,
    position bigint NOT NULL
);
