"""Bugs of the store and of the dispatcher's passes, on real Postgres and Redis."""

from __future__ import annotations

from .mutant import Mutant

FUNCTIONS = "shared/freshet/storage/functions"
ENGINE = "shared/freshet/engine"
EXECUTION = "shared/freshet/execution"
WINDOW = "tests/worker/test_log_window.py::test_"
JOBS = "tests/worker/test_job_service.py::test_"


def runs(*names: str) -> tuple[str, ...]:
    return tuple(f"tests/engine/test_runs.py::test_{name}" for name in names)


def ring(*names: str) -> tuple[str, ...]:
    return tuple(f"tests/engine/test_ring.py::test_{name}" for name in names)


def bug(name: str, file: str, old: str, new: str, tests: tuple[str, ...]) -> Mutant:
    return Mutant(name=name, file=file, old=old, new=new, tests=tests)


MUTANTS = (
    bug(
        "store: a bundle is claimed by two",
        f"{FUNCTIONS}/engine_claim.sql",
        "where id = bundle_id and claim is null and submitted_at is null and due_at is null",
        "where id = bundle_id and submitted_at is null and due_at is null",
        runs("a_bundle_is_claimed_by_one"),
    ),
    bug(
        "store: no fence at the finish",
        f"{FUNCTIONS}/engine_finish.sql",
        "where id = bundle_id and claim = token and cardinality(items) - done = n",
        "where id = bundle_id and cardinality(items) - done = n",
        runs("a_finish_under_another_claim_is_refused"),
    ),
    bug(
        "store: the sweep forgets what a partial finish committed",
        f"{FUNCTIONS}/engine_end_bundles.sql",
        "'c', g.done + 1 = cardinality(g.items),\n            'e', jsonb_build_object('class', 'lost', 'message', "
        "format('Worker %s was lost.', g.worker))) order by k)\n        from generate_series(g.done + 1,",
        "'c', g.done + 1 = cardinality(g.items),\n            'e', jsonb_build_object('class', 'lost', 'message', "
        "format('Worker %s was lost.', g.worker))) order by k)\n        from generate_series(1,",
        runs("a_partial_finish_is_kept_when_the_worker_dies"),
    ),
    bug(
        "store: fan-in counts what was reported, not what moved",
        f"{FUNCTIONS}/engine_take.sql",
        "from moved group by task_run_id",
        "from outcome where s = 'succeeded' group by task_run_id",
        runs("a_report_that_arrives_twice_counts_once"),
    ),
    bug(
        "store: fan-in counted twice",
        f"{FUNCTIONS}/engine_take.sql",
        "succeeded = succeeded + p_count",
        "succeeded = succeeded + 2 * p_count",
        runs("a_map_over_a_result_made_at_run_time_runs_every_element_once"),
    ),
    bug(
        "store: an old attempt's report is taken",
        f"{FUNCTIONS}/engine_take.sql",
        "w.id = o.i and w.attempt = o.a and w.state = 'queued'",
        "w.id = o.i and w.state = 'queued'",
        runs("a_report_of_an_old_attempt_changes_nothing"),
    ),
    bug(
        "store: a run under another's lock is not skipped but waited for",
        f"{FUNCTIONS}/engine_take.sql",
        "order by id for update skip locked) locked",
        "order by id for update) locked",
        ring("a_run_that_one_dispatcher_holds_is_left_alone_by_another"),
    ),
    bug(
        "store: every bundle of a map is a bundle of its first items",
        f"{FUNCTIONS}/engine_put.sql",
        "array(select f.task_run_id << 24 | i from generate_series(f.first, f.first + f.count - 1) as g (i))",
        "array(select f.task_run_id << 24 | i from generate_series(0, f.count - 1) as g (i))",
        runs("a_map_over_a_result_made_at_run_time_runs_every_element_once"),
    ),
    bug(
        "store: a retry does not wait for its delay",
        f"{FUNCTIONS}/engine_put.sql",
        "case when delay_s > 0 then p_now + delay_s * interval '1 second' end,",
        "null,",
        ring("a_retry_waits_for_its_delay_and_is_then_published"),
    ),
    bug(
        "store: what is due later is released now",
        "shared/freshet/storage/sql/engine.sql",
        "where due_at <= clock_timestamp()",
        "where due_at is not null",
        ring("a_retry_waits_for_its_delay_and_is_then_published"),
    ),
    bug(
        "store: the backlog knows no priority",
        "shared/freshet/storage/sql/engine.sql",
        "order by priority, turn, id limit %(room)s",
        "order by id limit %(room)s",
        ring("a_backlog_goes_by_priority_and_then_round_robin_over_runs"),
    ),
    bug(
        "store: an overdue claim expires all that is left of its bundle",
        f"{FUNCTIONS}/engine_end_bundles.sql",
        "'s', case when k = g.done + 1 then 'timed_out' else 'lost' end,",
        "'s', 'timed_out',",
        ring("a_claim_past_its_deadline_expires_only_the_item_in_hand"),
    ),
    bug(
        "store: a cancel takes the finally tasks with it",
        f"{FUNCTIONS}/engine_end_bundles.sql",
        "t.run_id = p_run and split_part(t.task, '.', 1) = any (p_spared)",
        "t.run_id = p_run and false",
        runs("a_cancel_spares_finally_tasks_in_flight"),
    ),
    bug(
        "engine: one bad run parks the whole batch",
        f"{ENGINE}/fold.py",
        "if len(runs) <= 1:",
        "if True:",
        runs("a_run_that_cannot_be_decided_is_parked_and_others_go_on"),
    ),
    bug(
        "engine: a scope ends and nobody counts it",
        f"{ENGINE}/run_fold.py",
        "outer.add(outcome.value)",
        "pass",
        runs("nested_maps_count_each_scope_and_join"),
    ),
    bug(
        "engine: a map's elements are opened beyond its window",
        f"{ENGINE}/run_fold.py",
        "loaded.mark += count\n        self._load(rows)",
        "self._load(rows)",
        runs("nested_maps_count_each_scope_and_join"),
    ),
    bug(
        "engine: a stopped worker is declared dead in spite of its session",
        f"{ENGINE}/witness.py",
        "if worker in witnessed:\n            return now - silence.heard >= self.patience.lease",
        "if False:\n            return False",
        ring("a_stopped_worker_whose_session_lives_keeps_its_claim_for_the_lease"),
    ),
    bug(
        "engine: a judge that stood still judges at once",
        f"{ENGINE}/witness.py",
        "self._not_before = now + self.patience.grace\n            self._silence.clear()",
        "pass",
        ring("a_judge_that_was_stopped_itself_waits_before_it_judges"),
    ),
    bug(
        "engine: a flush loses what was queued",
        f"{ENGINE}/ring.py",
        "if not fresh:",
        "if fresh or True:",
        ring("a_flush_publishes_every_unclaimed_bundle_again"),
    ),
    bug(
        "engine: a flush is heard of by one judge alone",
        f"{ENGINE}/ring.py",
        "if fresh or before not in {None, self._epoch}:",
        "if fresh:",
        ring("a_flush_that_another_dispatcher_has_seen_first_is_none_the_less_seen"),
    ),
    bug(
        "watch: a timeout waits for a clock that was put back",
        "shared/freshet/execution/watcher.py",
        'max(0.0, min(since, watch["waiting_s"]))',
        'min(max(0.0, since), watch["waiting_s"])',
        ("tests/worker/test_job_service.py::test_a_container_runs_too_long_also_if_the_databases_clock_was_put_back",),
    ),
    bug(
        "watch: any overlap of two looks will do, not the longest",
        f"{EXECUTION}/log_window.py",
        "for length in range(longest, 0, -1) if",
        "for length in range(1, longest + 1) if",
        (f"{WINDOW}the_overlap_is_the_longest_there_is",),
    ),
    bug(
        "watch: a gap between two looks is not marked",
        f"{EXECUTION}/log_window.py",
        "gap=not whole and shared < CERTAIN",
        "gap=False and shared < CERTAIN",
        (f"{WINDOW}no_line_is_there_twice_however_small_the_window_and_what_is_lost_is_marked",),
    ),
    bug(
        "watch: a character of which the beginning is there yet is kept",
        f"{EXECUTION}/log_window.py",
        'return window.rstrip("\\N{REPLACEMENT CHARACTER}")',
        "return window",
        (f"{WINDOW}lines_that_differ_are_there_once_each_while_looks_overlap",),
    ),
    bug(
        "watch: logs go round without regard to who prints fast",
        f"{EXECUTION}/log_tail.py",
        "key=lambda each: (min(each[0].danger, now), each[0].looked)",
        "key=lambda each: each[0].looked",
        ("tests/worker/test_log_tail.py::test_whoever_prints_fast_is_read_at_each_turn_and_loses_nothing",),
    ),
    bug(
        "watch: two watchers write the same lines",
        "shared/freshet/storage/sql/worker.sql",
        "submitted_at is not null and log_parts = %(first)s",
        "submitted_at is not null and log_parts + 0 * %(first)s >= 0",
        ("tests/model/test_races.py::test_two_watchers_that_read_the_same_lines_write_them_once",),
    ),
    bug(
        "watch: nobody is told of a job that a cancel left behind",
        f"{EXECUTION}/job_service.py",
        "self._tell(self._bus.wake_watcher)  # the job is nobody's",
        "pass  # the job is nobody's",
        (f"{JOBS}a_cancel_between_claim_and_submit_leaves_no_container",),
    ),
    bug(
        "watch: what a job waited for is said of it for ever",
        f"{EXECUTION}/pending.py",
        'for watch in started if watch["waits_for"] is not None',
        'for watch in started if watch["waits_for"] is None',
        (f"{JOBS}a_pending_job_says_what_it_waits_for_at_one_statement_about_pools",),
    ),
    bug(
        "engine: two refills give the same place away",
        f"{FUNCTIONS}/engine_publish_limited.sql",
        "perform pg_advisory_xact_lock(7235421, hashtext(k.key))",
        "perform hashtext(k.key)",
        ("tests/model/test_races.py::test_two_refills_at_once_give_a_place_in_a_pool_away_once",),
    ),
    bug(
        "engine: the fold gives away places that only the refill may",
        f"{ENGINE}/fold.py",
        'free = [row for row in decision.bundles() if row["limit_key"] is None]',
        "free = list(decision.bundles())",
        ring("a_pool_has_no_more_jobs_under_way_than_places_and_the_urgent_go_first"),
    ),
    bug(
        "bus: a queue that does not run dry starves those after it",
        "shared/freshet/bus/worker.py",
        "return keys[place:] + keys[:place]",
        "return keys",
        ("tests/twins/test_pipes.py::test_a_queue_that_does_not_run_dry_starves_no_other",),
    ),
    bug(
        "bus: the hash of a served message stays",
        "shared/freshet/bus/worker.py",
        "pipe.unlink(self._served)",
        "pipe.exists(self._served)",
        ("tests/twins/test_pipes.py::test_a_served_message_leaves_nothing_behind",),
    ),
    bug(
        "engine: a judge that has just begun judges at once",
        f"{ENGINE}/witness.py",
        "self._not_before = self.clock() + self.patience.grace\n\n",
        "self._not_before = self.clock()\n\n",
        ring("a_judge_that_has_just_begun_waits_before_it_judges"),
    ),
    bug(
        "job: a submit whose claim was cancelled leaves its container",
        "shared/freshet/execution/reaper.py",
        "sum(self._stop(job) for job in going)",
        "len(going)",
        ("tests/worker/jobs/test_job_failures.py::test_a_cancel_around_the_submit_leaves_no_container",),
    ),
    bug(
        "job: who lost a claim stops the job of whoever took it over",
        "shared/freshet/execution/reaper.py",
        "if job.name in runs and job.name not in owned]",
        "if job.name in runs]",
        ("tests/worker/jobs/test_job_failures.py::test_a_claim_that_somebody_else_took_over_leaves_the_job_alone",),
    ),
    bug(
        "job: a submit without an answer is taken for none",
        "shared/freshet/execution/job_service.py",
        "if not self._was_launched(name, made.comment):",
        "if made:",
        ("tests/worker/jobs/test_job_failures.py::test_a_submit_without_an_answer_is_watched_if_it_was_one",),
    ),
    bug(
        "job: the history is not asked about a submit without an answer",
        "shared/freshet/execution/job_service.py",
        "return self._jobs.is_ours(name, comment) or self._jobs.history(name) is not None",
        "return self._jobs.is_ours(name, comment)",
        ("tests/worker/jobs/test_job_failures.py::test_a_submit_without_an_answer_is_looked_up_in_the_history",),
    ),
    bug(
        "job: a full pool uses up retries",
        "shared/freshet/execution/job_outcome.py",
        'return platform_failure(f"{start}: {message}{where}.", JobFailure.CAPACITY)',
        'return failed(f"{start}: {message}{where}.", kind=JobFailure.CAPACITY)',
        ("tests/worker/jobs/test_job_failures.py::test_a_full_pool_is_a_loss_that_tells_the_pools_nodes",),
    ),
    bug(
        "job: a container that was killed for its memory is the platform's failure",
        "shared/freshet/domain/job_failure.py",
        "JobFailure.TIMEOUT, JobFailure.OOM, JobFailure.IMAGE",
        "JobFailure.TIMEOUT, JobFailure.IMAGE",
        ("tests/worker/jobs/test_job_failures.py::test_too_little_memory_is_the_users_failure",),
    ),
    bug(
        "job: the context does not reach a specification",
        "shared/freshet/execution/job_specification.py",
        '"env": {**env, **context}',
        '"env": env',
        ("tests/worker/jobs/test_job_forms.py::test_every_container_of_an_inline_specification_gets_the_context",),
    ),
    bug(
        "job: a name in quotes is quoted once more",
        "shared/freshet/snowflake/text.py",
        "if PLAIN.fullmatch(name) or QUOTED.fullmatch(name):",
        "if PLAIN.fullmatch(name):",
        ("tests/worker/jobs/test_job_forms.py::test_a_pool_with_a_quoted_name_is_found",),
    ),
    bug(
        "job: any text is the name of a result table",
        "shared/freshet/snowflake/text.py",
        "if not OBJECT.fullmatch(name):",
        "if not name:",
        ("tests/worker/jobs/test_job_failures.py::test_what_is_no_name_of_a_table_never_reaches_snowflake",),
    ),
    bug(
        "job: waiting for a pool costs credits",
        "shared/freshet/storage/costs.py",
        "if not kind.has_run]",
        "if not kind]",
        ("tests/api/test_costs.py::test_a_run_is_priced_by_the_run_time_of_its_attempts",),
    ),
    bug(
        "watch: the name of a job that ended is free at once",
        "shared/freshet/execution/reaper.py",
        "until = self._clock.monotonic() - self._keep",
        "until = self._clock.monotonic()",
        (
            "tests/worker/test_job_service.py::test_a_submit_that_comes_after_the_end_of_its_job_launches_nothing",
            "tests/worker/test_reaper.py",
        ),
    ),
    bug(
        "engine: a message that waits is published again",
        f"{ENGINE}/refill.py",
        "lost = set(waiting) - self._bus.queued(queue)",
        "lost = set(waiting)",
        ring("a_message_that_waits_in_its_queue_is_not_published_twice"),
    ),
    bug(
        "engine: a cancel leaves what no window has opened",
        f"{ENGINE}/loaded.py",
        'self.add("cancelled", self.node.total - self.mark)\n            self.mark = self.node.total',
        "self.mark = self.node.total",
        runs("a_cancel_ends_what_is_queued_and_what_is_not_opened_yet"),
    ),
)
