-- What a watch keeps besides the job's name, and places in compute pools.
alter table engine.bundle
    add column log_parts int not null default 0, -- parts of the job's log that are written: the fence of the next one
    add column waits_for text, -- why the job of a watch has not started, in a sentence; null: it has, or nobody looked
    -- The compute pool whose places are counted; null: nobody limits it. A bundle has a place from its publication on.
    add column limit_key text;
create index bundle_place_wanted on engine.bundle (limit_key, priority, turn, id)
    where limit_key is not null and published_at is null and due_at is null and claim is null and submitted_at is null;
create index bundle_place_taken on engine.bundle (limit_key)
    where limit_key is not null and (published_at is not null or claim is not null or submitted_at is not null);
