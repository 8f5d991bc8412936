-- Payloads that a container's environment has no room for: its job's containers fetch them from the api.
create table engine.job_payload (
    job_name text primary key check (octet_length(job_name) <= 63),
    key uuid not null unique default gen_random_uuid(), -- 122 random bits: whoever knows it may read the payload
    item bigint not null, -- the attempt that it is for: it is readable, and kept, as long as that goes on
    attempt int not null,
    body bytea not null check (octet_length(body) <= 16777216), -- JSON
    stored_at timestamptz not null default clock_timestamp()
);
-- Uncompressed, so that a part of it is read without the rest.
alter table engine.job_payload alter column body set storage external;
