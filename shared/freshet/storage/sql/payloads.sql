-- Payloads of job services, for the containers that fetch them. They are there as long as the attempt goes on.

-- name: JobPayloadPart
select octet_length(p.body) as size, substring(p.body from %(at)s + 1 for %(size)s) as part
from engine.job_payload p
cross join lateral (
    select from engine.work_item
    where id = p.item and attempt = p.attempt and state in ('queued', 'running')
    offset 0
) w
where p.key = %(key)s
