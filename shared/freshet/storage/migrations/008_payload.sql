-- Payloads that a container's environment has no room for: its job's containers fetch them from the api.
create table engine.job_payload (
    job_name text primary key check (octet_length(job_name) <= 63),
    key uuid not null unique default gen_random_uuid(), -- 122 random bits: whoever knows it may read the payload
    body bytea not null check (octet_length(body) <= 16777216), -- JSON
    stored_at timestamptz not null default clock_timestamp()
);
