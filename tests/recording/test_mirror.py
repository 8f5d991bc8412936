"""The two tables in Snowflake: the same rows, once each, whatever happens in between."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from tests.emulator.server import EmulatorProcess, fresh, until
from tests.recording.facts import END, Outbox, Run, failure
from tests.recording.mirrored import assert_equal, copies, finish, originals
from tests.recording.test_tables import record, six_jobs

from freshet.domain.errors import UnreachableError
from freshet.recording import mirror as mirroring
from freshet.recording.mirror import Mirror
from freshet.runtime import fault
from freshet.snowflake import JobServices, SnowflakeRefusedError
from freshet.snowflake.mirror import LEDGER, MirrorTables
from freshet.storage.database import Database
from freshet.storage.leadership import MIRROR, Leadership
from freshet.storage.mirror import Mirroring
from freshet.storage.record import Recording

Make = Callable[[], Mirror]


@pytest.fixture
def schema(emulator: EmulatorProcess) -> str:
    """A schema of this test's own."""
    services, name = emulator.services(), fresh("S")
    services.execute(f"CREATE SCHEMA FRESHET.{name}")
    services.close()
    return name


@pytest.fixture
def there(emulator: EmulatorProcess, schema: str) -> Iterator[JobServices]:
    found = emulator.services(schema=schema)
    yield found
    found.close()


@pytest.fixture
def make(emulator: EmulatorProcess, schema: str, database: str) -> Iterator[Make]:
    made: list[tuple[Mirror, Database]] = []

    def make() -> Mirror:
        own = Database(database, name="mirror")
        tables = MirrorTables(emulator.settings(schema=schema, paramstyle="qmark"))
        mirror = Mirror(store=Mirroring(own), tables=tables, candidate=Leadership(own, MIRROR))
        made.append((mirror, own))
        return mirror

    yield make
    for mirror, own in made:
        mirror.end()
        own.close()


@pytest.fixture
def mirror(make: Make) -> Mirror:
    return make()


def runs(outbox: Outbox, recording: Recording, count: int = 3) -> None:
    for _ in range(count):
        run = Run(root_task_name="root_task")
        finish(outbox, recording, run, six_jobs(run))


def test_the_tables_are_made_and_equal_the_views_row_for_row(
    outbox: Outbox, recording: Recording, mirror: Mirror, there: JobServices, store: Database
) -> None:
    runs(outbox, recording)
    assert mirror.once().runs == 3
    assert_equal(there, store)
    assert copies(there, "jobs_run_stats").total() == 18
    assert copies(there, "task_logging_stats").total() == 3 * 7
    columns = [row["column_name"] for row in there.execute(
        "SELECT column_name FROM INFORMATION_SCHEMA.COLUMNS WHERE table_name = 'JOBS_RUN_STATS' AND table_schema ="
        " CURRENT_SCHEMA() ORDER BY ordinal_position")]  # fmt: skip
    assert [each.lower() for each in columns] == [name for name, _ in next(iter(originals(store, "jobs_run_stats")))]


def test_rows_that_are_alike_stay_as_many_as_they_are(
    outbox: Outbox, recording: Recording, mirror: Mirror, there: JobServices, store: Database
) -> None:
    run = Run()
    record(outbox, recording, run.fact("running"), run.task("score", "cancelled", total=7, cancelled=7),
           run.fact("cancelled", at=END))  # fmt: skip
    mirror.once()
    assert copies(there, "jobs_run_stats").most_common(1)[0][1] == 7
    assert_equal(there, store)


def test_any_text_arrives_as_it_is(
    outbox: Outbox, recording: Recording, mirror: Mirror, there: JobServices, store: Database
) -> None:
    run, text = Run(), "it's \\ \\' a \"log\"\n\twith '' and ü 😀 ? %s :x $$ {}"
    insert = (
        "insert into log.attempt_log (run_id, task, item, attempt, claim, part, text)"
        " values (%s, 'train', '', 1, %s, 0, %s) returning part"
    )
    outbox.rows(insert, run.id, uuid4(), text)
    record(
        outbox, recording, run.fact("running"), run.item("train", "failed", error=failure(text)),
        run.task("train", "failed", error=failure(text), result={"a": [1, None]}), run.fact("failed", at=END),
    )  # fmt: skip
    mirror.once()
    assert_equal(there, store)


def test_a_run_is_copied_when_it_has_ended_and_is_recorded_as_a_whole(
    outbox: Outbox, recording: Recording, mirror: Mirror, there: JobServices, store: Database
) -> None:
    run = Run()
    *earlier, late, last = six_jobs(run)
    record(outbox, recording, *earlier)
    assert mirror.once().runs == 0  # it goes on
    waiting = outbox.commit(late, run=run.id)
    record(outbox, recording, last)
    assert mirror.once().runs == 0  # another recorder has a fact of it in hand
    recording.record([waiting])
    assert mirror.once().runs == 1
    assert_equal(there, store)


def test_a_rerun_in_the_same_group_adds_its_own_rows(
    outbox: Outbox, recording: Recording, mirror: Mirror, there: JobServices, store: Database
) -> None:
    first = Run()
    finish(outbox, recording, first, six_jobs(first))
    mirror.once()
    again = Run(group=first.id)
    facts = [again.item("t_3", "succeeded"), again.task("t_3", "succeeded"), again.fact("succeeded", at=END)]
    finish(outbox, recording, again, [again.fact("running"), *facts])
    mirror.once()
    assert_equal(there, store)
    assert copies(there, "jobs_run_stats").total() == 7


def test_what_is_mirrored_is_not_sent_again_and_an_idle_mirror_asks_snowflake_nothing(
    outbox: Outbox, recording: Recording, mirror: Mirror, there: JobServices, store: Database
) -> None:
    runs(outbox, recording)
    mirror.once()
    tables, mirror._tables = mirror._tables, None  # type: ignore[assignment]
    assert mirror.once().runs == 0
    mirror._tables = tables


@pytest.mark.parametrize("point", ["mirror.read", "mirror.written", "mirror.marked"])
def test_a_pass_that_breaks_off_anywhere_doubles_nothing_and_loses_nothing(
    outbox: Outbox, recording: Recording, make: Make, there: JobServices, store: Database, point: str
) -> None:
    runs(outbox, recording)

    def break_off(reached: str) -> None:
        if reached == point:
            raise ConnectionAbortedError(point)

    broken = make()
    with fault.armed(break_off), pytest.raises(ConnectionAbortedError):
        broken.once()
    broken.end()
    runs(outbox, recording, 1)
    make().once()
    assert_equal(there, store)


def test_a_run_in_many_parts_that_breaks_off_between_them_is_whole_in_the_end(
    outbox: Outbox, recording: Recording, make: Make, there: JobServices, store: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(mirroring, "PART_BYTES", 300)
    monkeypatch.setattr(mirroring, "REQUEST_BYTES", 900)
    runs(outbox, recording)
    writes = 0

    def break_off(reached: str) -> None:
        nonlocal writes
        writes += reached == "mirror.written"
        if writes == 2:
            raise ConnectionAbortedError(reached)

    broken = make()
    with fault.armed(break_off), pytest.raises(ConnectionAbortedError):
        broken.once()
    broken.end()
    assert copies(there, "jobs_run_stats") != originals(store, "jobs_run_stats")
    make().once()
    assert_equal(there, store)
    assert len(there.execute(f"SELECT * FROM {LEDGER}")) > 9


def test_an_answer_that_is_lost_doubles_nothing(
    outbox: Outbox, recording: Recording, mirror: Mirror, there: JobServices, store: Database, emulator: EmulatorProcess
) -> None:
    runs(outbox, recording)
    write, parts = mirror._tables.write, []

    def forget(sent: Any) -> None:
        write(sent)
        parts.extend(sent)
        raise UnreachableError("The answer is lost.")

    mirror._tables.write = forget  # type: ignore[method-assign]
    with pytest.raises(UnreachableError):
        mirror.once()
    mirror._tables.write = write  # type: ignore[method-assign]
    write(parts)  # sent again by the network itself
    mirror.once()
    assert_equal(there, store)


def test_a_statement_that_fails_leaves_nothing_of_its_request_and_nothing_open(
    outbox: Outbox, recording: Recording, mirror: Mirror, there: JobServices, store: Database
) -> None:
    runs(outbox, recording)
    # The second table can't take the rows.
    there.execute("CREATE TABLE task_logging_stats (graph_run_group_id VARCHAR)")
    with pytest.raises(SnowflakeRefusedError):
        mirror.once()
    assert copies(there, "jobs_run_stats").total() == 0
    there.execute("DROP TABLE task_logging_stats")
    there.execute(f"DELETE FROM {LEDGER}")  # waits for no lock
    until(lambda: _tried(mirror))
    assert_equal(there, store)


def test_one_run_that_snowflake_refuses_stops_no_other(
    outbox: Outbox, recording: Recording, mirror: Mirror, there: JobServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = Run()
    record(outbox, recording, *six_jobs(bad))
    runs(outbox, recording, 2)
    write = mirror._tables.write

    def refuse(parts: Any) -> None:
        if any(part.run == bad.id for part in parts):
            raise SnowflakeRefusedError("100072: too long", errno=100072)
        write(parts)

    monkeypatch.setattr(mirror._tables, "write", refuse)
    mirror.once()
    assert copies(there, "jobs_run_stats").total() == 12
    assert mirror.once().runs == 0  # it is set aside, and not tried for ever


def test_tables_that_somebody_has_dropped_are_made_again(
    outbox: Outbox, recording: Recording, mirror: Mirror, there: JobServices, store: Database
) -> None:
    runs(outbox, recording)
    mirror.once()
    for table in ("jobs_run_stats", "task_logging_stats"):
        there.execute(f"DROP TABLE {table}")
    runs(outbox, recording, 1)
    until(lambda: _tried(mirror))
    assert copies(there, "jobs_run_stats").total() == 6


def _tried(mirror: Mirror) -> bool:
    try:
        mirror.once()
    except SnowflakeRefusedError:
        return False
    return True


def test_one_of_two_recorders_mirrors(outbox: Outbox, recording: Recording, make: Make) -> None:
    first, second = make(), make()
    assert first.once().leads
    assert not second.once().leads
    first.end()
    # Postgres frees the lock when it has noticed that the session is gone.
    assert until(lambda: second.once().leads)


def test_the_mark_moves_on_and_never_beyond_what_is_not_mirrored(
    outbox: Outbox, recording: Recording, mirror: Mirror, store: Database
) -> None:
    record(outbox, recording, *six_jobs(Run()))
    mirror.once()
    assert outbox.rows("select run_id from log.mirrored") == []  # END is long ago
    upto = outbox.value("select upto from log.mirror")
    assert upto > outbox.value("select max(finished_at) from log.run")
    # A fact that waits may be the end of a run, which ended when it was written.
    outbox.commit(Run().fact("running"), age_s=86_400.0)
    outbox.rows("update log.mirror set upto = '-infinity' returning alone")
    outbox.rows("update log.run set run_id = gen_random_uuid() returning run_id")  # there is something to do
    mirror.once()
    assert upto - outbox.value("select upto from log.mirror") > timedelta(hours=23)


def test_an_unreachable_snowflake_stops_nothing_and_loses_nothing(
    outbox: Outbox, recording: Recording, store: Database, database: str
) -> None:
    emulator = EmulatorProcess()
    own = Database(database, name="mirror")
    tables = MirrorTables(emulator.settings(paramstyle="qmark", login_timeout=1, network_timeout=2))
    mirror = Mirror(store=Mirroring(own), tables=tables, candidate=Leadership(own, MIRROR))
    runs(outbox, recording, 1)
    mirror.begin()
    found = emulator.services()
    until(lambda: _count(found) == 6)
    found.close()
    emulator.kill()
    runs(outbox, recording, 5)  # nobody waits for Snowflake
    mirror.nudge()
    again = EmulatorProcess("--port", str(emulator.port))
    there = again.services()
    # Its tables were in memory: what was copied before is gone with them, what came since is there.
    until(lambda: _count(there) == 30, 60.0)
    mirror.end()
    there.close()
    again.stop()
    own.close()


def _count(services: JobServices) -> int:
    try:
        return copies(services, "jobs_run_stats").total()
    except SnowflakeRefusedError:
        return 0
