-- What the API answers from. Fed by the service's own events, in their append.

CREATE TABLE IF NOT EXISTS resource.tours (
    tour_id text COLLATE "C" PRIMARY KEY,
    sub text COLLATE "C" NOT NULL,
    title text NOT NULL,
    venue text NOT NULL,
    city text NOT NULL,
    date text COLLATE "C" NOT NULL,
    position bigint NOT NULL
);
CREATE INDEX IF NOT EXISTS tours_of_user ON resource.tours (sub, date, tour_id);

CREATE TABLE IF NOT EXISTS resource.merchandise (
    merchandise_id text COLLATE "C" PRIMARY KEY,
    sub text COLLATE "C" NOT NULL,
    title text COLLATE "C" NOT NULL,
    price_cents bigint NOT NULL,
    stock bigint NOT NULL,
    position bigint NOT NULL
);
CREATE INDEX IF NOT EXISTS merchandise_of_user ON resource.merchandise (sub, title, merchandise_id);
