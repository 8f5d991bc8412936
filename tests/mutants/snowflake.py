"""Bugs of scripts on Snowflake and of the mirror, on real Postgres and Redis and the local Snowflake."""

from __future__ import annotations

from .mutant import Mutant

EXECUTION = "shared/freshet/execution"
JOBS = "tests/worker/jobs"


def query(*names: str) -> tuple[str, ...]:
    return tuple(f"tests/worker/test_query.py::test_{name}" for name in names)


def mirror(*names: str) -> tuple[str, ...]:
    return tuple(f"tests/recording/test_mirror.py::test_{name}" for name in names)


def bug(name: str, file: str, old: str, new: str, tests: tuple[str, ...]) -> Mutant:
    return Mutant(name=f"snowflake: {name}", file=file, old=old, new=new, tests=tests)


MUTANTS = (
    bug(
        "a script is begun again by the next claim",
        f"{EXECUTION}/query.py",
        "        if known:\n",
        "        if known and known[0].failed:\n",
        query("a_new_claim_of_the_same_attempt_finds_the_script"),
    ),
    bug(
        "what an unfolded report owns is aborted",
        f"{EXECUTION}/query_watch.py",
        "if row.tag not in owned]",
        "if row.tag not in self._seen_at]",
        query("a_script_that_somebody_owns_is_not_reaped"),
    ),
    bug(
        "a cancelled script goes on",
        f"{EXECUTION}/query_watch.py",
        "self._reap() if gone or",
        "self._reap() if",
        query("a_script_whose_run_was_cancelled_is_aborted"),
    ),
    bug(
        "an expired script goes on",
        f"{EXECUTION}/query_watch.py",
        "            if row.running:\n                self._queries.abort(row.id)",
        "            if row.running:\n                pass",
        query("a_script_that_runs_too_long_is_aborted"),
    ),
    bug(
        "the platform's failure uses up a retry",
        f"{EXECUTION}/query_outcome.py",
        "if culprit.code in PLATFORM - {CANCELED, TIMED_OUT}:",
        "if culprit.code in {CANCELED, TIMED_OUT}:",
        query("a_failure_inside_snowflake_charges_no_retry"),
    ),
    bug(
        "a part that is sent twice is written twice",
        "shared/freshet/snowflake/mirror.py",
        " WHERE NOT m.written",
        "",
        mirror("an_answer_that_is_lost_doubles_nothing"),
    ),
    bug(
        "runs are marked before they are written",
        "shared/freshet/recording/mirror.py",
        '            fault.reach("mirror.read")\n',
        '            self._store.mark(request.runs)\n            fault.reach("mirror.read")\n',
        mirror("a_pass_that_breaks_off_anywhere_doubles_nothing_and_loses_nothing"),
    ),
    bug(
        "a run is mirrored while a fact of it waits",
        "shared/freshet/storage/sql/mirror.sql",
        "    and not exists (select from engine.outbox o where o.run_id = r.run_id)\n",
        "",
        mirror("a_run_is_copied_when_it_has_ended_and_is_recorded_as_a_whole"),
    ),
    bug(
        "a refused request leaves its transaction open",
        "shared/freshet/snowflake/mirror.py",
        "            self._session.close()\n            raise",
        "            raise",
        mirror("a_statement_that_fails_leaves_nothing_of_its_request_and_nothing_open"),
    ),
    bug(
        "the mark passes a fact that waits",
        "shared/freshet/storage/sql/mirror.sql",
        "        (select min(created_at) from engine.outbox) - interval '1 day',\n",
        "",
        mirror("the_mark_moves_on_and_never_beyond_what_is_not_mirrored"),
    ),
    bug(
        "a payload that just fits is fetched",
        f"{EXECUTION}/job_specification.py",
        "len(payload) <= PAYLOAD_LIMIT",
        "len(payload) < PAYLOAD_LIMIT",
        (f"{JOBS}/test_job_payload.py::test_a_container_reads_the_same_payload_whatever_its_size",),
    ),
    bug(
        "a payload is forgotten while its attempt is handed back",
        "shared/freshet/storage/sql/retention.sql",
        "            where w.id = q.item and w.attempt = q.attempt and w.state in ('queued', 'running')",
        "            join engine.bundle b on b.job_name = q.job_name where w.id = q.item",
        (f"{JOBS}/test_job_payload.py::test_a_payload_is_read_by_its_key_alone_and_as_long_as_its_attempt_goes_on",),
    ),
    bug(
        "a pull that failed once is given up",
        f"{EXECUTION}/pending.py",
        "< IMAGE_PATIENCE",
        "< 0",
        (
            f"{JOBS}/test_job_failures.py::test_a_pull_that_goes_on_failing_has_a_minute_and_not_all_of_the_start_timeout",
        ),
    ),
    bug(
        "late lines are added twice",
        "shared/freshet/storage/functions/log_add_to_ended.sql",
        "    if p_numbers[1] is distinct from (",
        "    if p_numbers[1] > (",
        ("tests/twins/test_fence.py::test_what_a_cancelled_job_prints_on_its_way_out_is_added_once",),
    ),
    bug(
        "the last words after a timeout are lost once the item is tried again",
        "shared/freshet/storage/sql/worker.sql",
        "            or attempt = %(attempt)s + 1 and error ->> 'class' = 'timeout'\n",
        "",
        ("tests/twins/test_stopped_jobs.py::test_an_attempt_that_ran_into_its_timeout_was_stopped",),
    ),
)
