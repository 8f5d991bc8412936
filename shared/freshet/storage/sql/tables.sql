-- The two tables of the original utility, newest first. A view's rows have no key, so a page begins after a moment and
-- so many rows of it.

-- name: JobsRunStatsPage
select root_task_name, task_name, job_status, graph_run_id, graph_start_time, errors, created_date
from log.jobs_run_stats
where (%(at)s::timestamptz is null or created_date <= %(at)s::timestamptz)
    and (%(run)s::text is null or graph_run_id = %(run)s::text)
order by created_date desc, graph_run_id desc, task_name, job_status, errors
offset %(skip)s
limit %(limit)s;

-- name: TaskLoggingStatsPage
select
    graph_run_group_id, name, state, return_value, query_start_time, completed_time, duration_in_secs, error_message
from log.task_logging_stats
where (%(at)s::text is null or completed_time <= %(at)s::text)
    and (%(run)s::text is null or graph_run_group_id = %(run)s::text)
order by completed_time desc, graph_run_group_id desc, name, state, query_start_time, return_value, error_message
offset %(skip)s
limit %(limit)s;

-- name: RunGroup
select group_id from engine.run where id = %(run)s
union all
select group_id from log.run where run_id = %(run)s
limit 1;
