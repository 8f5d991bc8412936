-- Which instance family the nodes of a compute pool are of, as a worker has seen it: what an hour in it costs.
create table engine.compute_pool (
    name text primary key check (octet_length(name) <= 1024), -- as a workflow names it
    family text not null check (octet_length(family) <= 256),
    seen_at timestamptz not null default clock_timestamp()
);
