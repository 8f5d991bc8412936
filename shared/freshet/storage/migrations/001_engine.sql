-- The engine's tables: hot and small.
--
-- Who writes what
--   api, scheduler   run + request (the run exists the moment it is asked for; the request is the dispatcher's inbox)
--   dispatcher       everything that is decided: task_run, work_item, bundle, outbox; deletes requests and reports
--   worker           claims a bundle (compare-and-set), ends it (delete) and leaves a report, in one transaction
--   recorder         deletes outbox rows in the transaction that writes the log
--
-- Guarantees that the tables keep by themselves
--   * An active WorkItem is covered by exactly one bundle row, or by exactly one report row not yet folded.
--     Whoever ends a bundle deletes the row and inserts the report in the same transaction, be it the worker's finish,
--     the sweep of a dead worker, a timeout or a cancel. Fan-in counts reports, so it counts each item once.
--   * A WorkItem's key is task_run.id << 24 | index: an expansion owns a contiguous block without reserving one.
--   * Bundle and report rows have no foreign keys: they come and go thousands of times a second.

create schema engine;

create table engine.installation (
    only_row boolean primary key default true check (only_row),
    id text not null check (id ~ '^[A-Z0-9]{4,12}$'),
    created_at timestamptz not null default now()
);
insert into engine.installation (id) values (upper(substr(md5(gen_random_uuid()::text), 1, 6)));

create table engine.workflow (
    name text primary key,
    version int not null,
    paused boolean not null default false,
    deleted_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

create table engine.workflow_version (
    workflow text not null references engine.workflow (name),
    version int not null check (version > 0),
    document json not null, -- as text: tasks keep the order in which they were declared
    digest text not null,
    created_at timestamptz not null default now(),
    primary key (workflow, version)
);

-- What workers declare that they serve; `process: name` is resolved against it at apply.
create table engine.process (
    name text not null,
    version text not null,
    first_seen timestamptz not null default now(),
    last_seen timestamptz not null default now(),
    primary key (name, version)
);

create table engine.schedule (
    workflow text primary key references engine.workflow (name),
    every double precision check (every > 0),
    cron text,
    timezone text not null default 'UTC',
    catch_up text not null check (catch_up in ('none', 'latest', 'all')),
    overlap text not null check (overlap in ('skip', 'queue', 'allow')),
    -- Kept over re-applies, so that an interval keeps its phase.
    anchor timestamptz not null,
    next_fire_at timestamptz,
    paused boolean not null default false,
    check ((every is null) <> (cron is null))
);
create index schedule_due on engine.schedule (next_fire_at) where not paused;

-- Which event types start which workflows: read at every event, written at apply.
create table engine.event_trigger (
    workflow text not null references engine.workflow (name),
    position int not null,
    event_type text not null,
    condition text,
    params jsonb not null default '{}',
    primary key (workflow, position)
);
create index event_trigger_type on engine.event_trigger (event_type);

-- CloudEvents from outside, each stored once by source + id.
create table engine.event (
    source text not null,
    id text not null,
    type text not null,
    subject text,
    body jsonb not null,
    received_at timestamptz not null default now(),
    primary key (source, id)
);

create table engine.api_token (
    digest bytea primary key, -- SHA-256 of the token: tokens are random, so no salt and no stretching is needed
    name text not null,
    created_at timestamptz not null default now()
);

create table engine.run (
    id uuid primary key,
    -- The last hex digit of a random id; a partition's inbox is worked by one dispatcher.
    partition smallint not null generated always as ((('x' || right(id::text, 1))::bit(4))::int) stored,
    workflow text not null,
    version int not null,
    state text not null default 'pending'
        check (state in ('pending', 'running', 'succeeded', 'failed', 'skipped', 'cancelled')),
    trigger text not null check (trigger in ('schedule', 'call', 'event', 'backfill', 'rerun', 'parent')),
    origin text, -- what makes asking twice one run: an idempotency key, a tick, an event
    params jsonb not null default '{}',
    scheduled_for timestamptz,
    rerun_of uuid,
    rerun_tasks text[], -- of a rerun: the tasks that run again; null means all
    group_id uuid not null, -- the first run's id, shared by its reruns
    priority int not null default 100,
    held boolean not null default false, -- overlap: queue; waits for the earlier run's end
    turn bigint not null default 0, -- bundles issued so far, for the round-robin between runs
    cancel_requested_at timestamptz,
    error jsonb,
    traceparent text,
    created_at timestamptz not null default clock_timestamp(),
    started_at timestamptz,
    finished_at timestamptz,
    constraint run_finished_when_final
        check ((finished_at is not null) = (state in ('succeeded', 'failed', 'skipped', 'cancelled'))),
    constraint run_times_in_order check (finished_at >= started_at)
) with (fillfactor = 60);
create unique index run_origin on engine.run (origin) where origin is not null;
create index run_of_workflow on engine.run (workflow, id);
create index run_active on engine.run (workflow) where state in ('pending', 'running');

create table engine.request (
    id bigint generated always as identity primary key,
    partition smallint not null,
    run_id uuid not null,
    kind text not null check (kind in ('start', 'cancel')),
    created_at timestamptz not null default clock_timestamp()
);
create index request_inbox on engine.request (partition, id);

create table engine.task_run (
    id bigint generated always as identity primary key,
    run_id uuid not null,
    task text not null, -- the dotted path
    index_path text not null default '', -- of the scope: '' in the run's own, '3' or '3.17' in a nested map
    scope bigint, -- the work_item that is this scope's element; null in the run's own scope
    kind text not null check (kind in ('process', 'job_service', 'sql', 'python', 'map')),
    parents text[] not null default '{}', -- paths of the tasks it comes after, in the same scope
    state text not null default 'pending'
        check (state in ('pending', 'running', 'succeeded', 'failed', 'skipped', 'cancelled')),
    total int check (total between 0 and 16777216), -- null until the map is expanded
    mark int not null default 0, -- items 0..mark-1 have rows; the window's upper end
    succeeded int not null default 0 check (succeeded >= 0),
    failed int not null default 0 check (failed >= 0),
    skipped int not null default 0 check (skipped >= 0),
    cancelled int not null default 0 check (cancelled >= 0),
    attempts int not null default 0 check (attempts >= 0), -- tries of all items
    -- Where an item's value comes from: 'value' rows of a source, the 'item' results of another TaskRun, or its 'index'.
    source_kind text check (source_kind in ('value', 'item', 'index')),
    source bigint,
    copied_from bigint, -- of a rerun: the TaskRun whose items hold the results
    busy_s double precision not null default 0, -- seconds that measured items took
    measured int not null default 0,
    error jsonb,
    created_at timestamptz not null default clock_timestamp(),
    started_at timestamptz,
    finished_at timestamptz,
    constraint task_run_key unique (run_id, task, index_path),
    constraint task_run_finished_when_final
        check ((finished_at is not null) = (state in ('succeeded', 'failed', 'skipped', 'cancelled'))),
    constraint task_run_counts_fit check (succeeded + failed + skipped + cancelled <= coalesce(total, 0)),
    constraint task_run_mark_fits check (mark <= coalesce(total, 0))
) with (fillfactor = 60);
create index task_run_scope on engine.task_run (run_id, scope);

create table engine.work_item (
    id bigint primary key, -- task_run id << 24 | index
    -- Active states are told apart by the bundle: due is retrying, claimed is running, submitted is waiting.
    state text not null default 'queued'
        check (state in ('queued', 'running', 'succeeded', 'failed', 'skipped', 'cancelled', 'expired')),
    attempt int not null default 1 check (attempt > 0),
    failures smallint not null default 0 check (failures >= 0),
    losses smallint not null default 0 check (losses >= 0),
    handbacks smallint not null default 0 check (handbacks >= 0),
    limit_key text,
    row_count int, -- values yielded, in engine.value under this item's key
    result jsonb,
    error jsonb,
    finished_at timestamptz,
    constraint work_item_finished_when_final
        check ((finished_at is not null) = (state in ('succeeded', 'failed', 'skipped', 'cancelled', 'expired'))),
    constraint work_item_result_of_success check (result is null or state = 'succeeded')
) with (fillfactor = 60);

-- Values that are rows from the start: what a process yields, or the elements of a list that a map expands.
create table engine.value (
    source bigint not null, -- a work_item's key, or minus a TaskRun's id
    idx int not null check (idx >= 0),
    value jsonb not null,
    primary key (source, idx)
);

-- One row per unit of queueing: outbox of the queue, claim, and fence in one.
create table engine.bundle (
    id bigint generated always as identity primary key,
    run_id uuid not null,
    partition smallint not null,
    task_run_id bigint not null,
    queue text not null,
    priority int not null,
    turn bigint not null,
    items bigint[] not null check (cardinality(items) between 1 and 1000),
    attempts int[] not null,
    done int not null default 0,
    timeout_s double precision,
    due_at timestamptz, -- not before: a retry's delay, a hand-back's wait
    published_at timestamptz,
    claim uuid,
    worker text,
    claimed_at timestamptz,
    expires_at timestamptz,
    job_name text,
    submitted_at timestamptz, -- a watch: the job runs, nobody holds the row
    created_at timestamptz not null default clock_timestamp(),
    constraint bundle_items_and_attempts_pair check (cardinality(items) = cardinality(attempts)),
    constraint bundle_done_fits check (done >= 0 and done < cardinality(items)),
    constraint bundle_claim_names_worker check ((claim is null) = (worker is null)),
    constraint bundle_claim_has_time check ((claim is null) = (claimed_at is null)),
    constraint bundle_watch_has_job check (submitted_at is null or (job_name is not null and claim is null)),
    constraint bundle_due_is_unclaimed check (due_at is null or (claim is null and published_at is null))
) with (fillfactor = 70);
create index bundle_backlog on engine.bundle (queue, priority, turn, id)
    where published_at is null and due_at is null and claim is null and submitted_at is null;
create index bundle_published on engine.bundle (queue, id)
    where published_at is not null and claim is null and submitted_at is null;
create index bundle_due on engine.bundle (due_at) where due_at is not null;
create index bundle_expiry on engine.bundle (expires_at) where expires_at is not null;
create index bundle_worker on engine.bundle (worker) where worker is not null;
create index bundle_watch on engine.bundle (submitted_at) where submitted_at is not null;
create index bundle_run on engine.bundle (run_id);

-- The dispatcher's inbox: what became of a bundle's attempts.
create table engine.report (
    id bigint generated always as identity primary key,
    partition smallint not null,
    run_id uuid not null,
    task_run_id bigint not null,
    bundle_id bigint not null,
    worker text,
    claimed_at timestamptz,
    -- [{"i": item, "a": attempt, "s": outcome, "r": result, "n": rows yielded, "d": seconds, "e": error}, …]
    body jsonb not null check (jsonb_typeof(body) = 'array'),
    created_at timestamptz not null default clock_timestamp()
);
create index report_inbox on engine.report (partition, id);

-- Committed facts on their way to the recorder: one row per run and batch, deleted by the transaction that records it.
create table engine.outbox (
    id bigint generated always as identity primary key,
    run_id uuid,
    body jsonb not null check (jsonb_typeof(body) = 'array'),
    created_at timestamptz not null default clock_timestamp()
);
create index outbox_run on engine.outbox (run_id);

create table engine.worker (
    id text primary key,
    state text not null check (state in ('available', 'busy', 'draining', 'offline')),
    lock_key bigint not null, -- the witness: a session advisory lock of this key
    hostname text not null,
    pid int not null,
    queues text[] not null,
    started_at timestamptz not null default clock_timestamp(),
    seen_at timestamptz not null default clock_timestamp(),
    busy_s double precision not null default 0,
    idle_s double precision not null default 0,
    wall_s double precision not null default 0
) with (fillfactor = 50);

-- Data errors that were set aside, so that one bad row stops nothing.
create table engine.parked (
    id bigint generated always as identity primary key,
    what text not null,
    run_id uuid,
    body jsonb,
    error text not null,
    created_at timestamptz not null default clock_timestamp()
);
