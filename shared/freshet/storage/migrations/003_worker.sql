-- What the worker adds to the engine's tables.

-- The watcher asks which of the jobs that Snowflake shows are owned by an attempt.
create index bundle_job on engine.bundle (job_name) where job_name is not null;
