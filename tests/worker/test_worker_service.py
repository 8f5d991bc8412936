"""The worker as a process of its own: killed, stopped, drained, cut off."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.worker.conftest import MODULE
from tests.worker.rows import Rows
from tests.worker.test_process import DEADLINE, Work, effects, states, until

from freshet.bus import Bus, Message


class Service:
    """A running `python -m freshet_worker`."""

    def __init__(self, database: str, redis: str, log: Path, **env: str) -> None:
        self.log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "freshet_worker"],
                stderr=output,
                stdout=output,
                env={
                    **os.environ,
                    "FRESHET_DATABASE_URL": database,
                    "FRESHET_REDIS_URL": redis,
                    "FRESHET_PROCESSES": MODULE,
                    "FRESHET_QUEUES": "q",
                    **env,
                },
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(DEADLINE)

    def ended(self) -> int:
        return self.process.wait(DEADLINE)


Start = Callable[..., Service]


@pytest.fixture
def start(database: str, redis: str, tmp_path: Path) -> Iterator[Start]:
    services: list[Service] = []

    def start(**env: str) -> Service:
        services.append(Service(database, redis, tmp_path / f"worker-{len(services)}.log", **env))
        return services[-1]

    yield start
    for service in services:
        if service.process.poll() is None:
            service.send(signal.SIGCONT)
            service.kill()


def publish(bus: Bus, *bundles: int) -> None:
    bus.publish([Message(queue="q", bundle_id=bundle) for bundle in bundles])


def held(rows: Rows, key: int = 4711) -> Any:
    # The locks of this database: other tests wait for the same key in theirs.
    return rows.one(
        "select count(*) from pg_locks where objid = %s and not granted"
        " and database = (select oid from pg_database where datname = current_database())",
        key,
    )


def children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in found]


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"


def test_a_worker_killed_in_the_middle_leaves_nothing_and_another_does_it_once(
    start: Start, work: Work, rows: Rows, bus: Bus
) -> None:
    first = start()
    bundle = work("hold", ["1"])
    rows.sql("select pg_advisory_lock(4711)")
    publish(bus, bundle)
    until(lambda: held(rows))
    (child,) = children(first.pid)
    first.kill()
    until(lambda: gone(child))
    until(lambda: not held(rows))  # the server has ended the dead child's statement
    assert effects(rows) == []
    assert rows.reports(bundle) == []
    rows.release(bundle)  # as the sweep does
    rows.sql("select pg_advisory_unlock(4711)")
    again = rows.bundle(rows.one("select task_run_id from engine.report where bundle_id = %s", bundle), [0])
    start()
    publish(bus, again)
    until(lambda: not rows.exists(again))
    assert effects(rows) == ["1"]
    assert states(rows.reports(again)) == ["succeeded"]


def test_a_worker_killed_right_after_the_commit_has_done_it_once(
    start: Start, work: Work, rows: Rows, bus: Bus
) -> None:
    service = start()
    bundle = work("hold", ["1"])
    rows.sql("select pg_advisory_lock(4711)")
    publish(bus, bundle)
    until(lambda: held(rows))
    service.send(signal.SIGSTOP)  # the supervisor learns nothing of what follows
    rows.sql("select pg_advisory_unlock(4711)")
    until(lambda: not rows.exists(bundle))
    service.kill()
    assert effects(rows) == ["1"]
    assert states(rows.reports(bundle)) == ["succeeded"]
    rows.release(bundle)  # a sweep finds nothing to release
    assert states(rows.reports(bundle)) == ["succeeded"]


def test_a_claim_lost_while_the_worker_was_stopped_changes_nothing(
    start: Start, work: Work, rows: Rows, bus: Bus
) -> None:
    service = start()
    bundle = work("hold", ["1", "2"])
    rows.sql("select pg_advisory_lock(4711)")
    publish(bus, bundle)
    until(lambda: held(rows))
    service.send(signal.SIGSTOP)
    rows.release(bundle)
    rows.sql("select pg_advisory_unlock(4711)")
    service.send(signal.SIGCONT)
    after = work("echo", ["alive"])
    publish(bus, after)
    until(lambda: not rows.exists(after))
    assert effects(rows) == []
    assert states(rows.reports(bundle)) == ["lost", "lost"]
    assert states(rows.reports(after)) == ["succeeded"]


def test_a_report_waits_for_postgres_and_is_made_once(start: Start, work: Work, rows: Rows, bus: Bus) -> None:
    start()
    bundle = work("hold", ["1"])
    rows.sql("select pg_advisory_lock(4711)")
    publish(bus, bundle)
    until(lambda: held(rows))
    # The engine's sessions of the worker are cut: it finds out when it reports, and connects again.
    rows.sql(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where application_name = 'freshet worker' and datname = current_database()"
    )
    rows.sql("select pg_advisory_unlock(4711)")
    until(lambda: not rows.exists(bundle))
    assert states(rows.reports(bundle)) == ["succeeded"]
    after = work("echo", ["alive"])
    publish(bus, after)
    until(lambda: not rows.exists(after))


def test_an_item_whose_session_was_cut_is_lost_not_failed(start: Start, work: Work, rows: Rows, bus: Bus) -> None:
    start()
    bundle = work("hold", ["1"])
    rows.sql("select pg_advisory_lock(4711)")
    publish(bus, bundle)
    until(lambda: held(rows))
    rows.sql(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where application_name = 'freshet process' and datname = current_database()"
    )
    until(lambda: not rows.exists(bundle))
    assert states(rows.reports(bundle)) == ["lost"]
    assert effects(rows) == []


def test_a_stop_notice_ends_an_item_that_does_not_heed_it(start: Start, work: Work, rows: Rows, bus: Bus) -> None:
    service = start()
    bundle = work("evaluate", ["time.sleep(1000)"])
    publish(bus, bundle)
    worker = until(lambda: next(iter(rows.sql("select worker from engine.bundle where claim is not null")), None))
    (child,) = children(service.pid)
    rows.release(bundle)  # as a cancel does
    bus.request_stop(worker["worker"], bundle)
    until(lambda: gone(child))
    after = work("echo", ["alive"])
    publish(bus, after)
    until(lambda: not rows.exists(after))


def test_a_stop_notice_for_a_claim_that_stands_is_not_believed(start: Start, work: Work, rows: Rows, bus: Bus) -> None:
    start()
    bundle = work("hold", ["1"])
    rows.sql("select pg_advisory_lock(4711)")
    publish(bus, bundle)
    until(lambda: held(rows))
    (row,) = rows.sql("select worker from engine.bundle")
    bus.request_stop(row["worker"], bundle)
    until(lambda: bus.client.llen(f"freshet:stop:{row['worker']}") == 0)
    rows.sql("select pg_advisory_unlock(4711)")
    until(lambda: not rows.exists(bundle))
    assert states(rows.reports(bundle)) == ["succeeded"]


def test_a_cancelled_item_can_notice_it(start: Start, work: Work, rows: Rows, bus: Bus) -> None:
    start()
    # With a connection of its own, so that the test sees it although the item's transaction is lost.
    text = (
        "[None for _ in iter(lambda: context.cancelled() or time.sleep(0.01), True)]"
        f" and None or __import__('psycopg').connect({rows.url!r}, autocommit=True)"
        ".execute(\"insert into effect values ('noticed')\").connection.close()"
    )
    bundle = work("evaluate", [text])
    publish(bus, bundle)
    row = until(lambda: next(iter(rows.sql("select worker from engine.bundle where claim is not null")), None))
    rows.release(bundle)
    bus.request_stop(row["worker"], bundle)
    until(lambda: effects(rows) == ["noticed"])


def test_sigterm_finishes_the_item_in_hand_returns_the_rest_and_says_goodbye(
    start: Start, work: Work, rows: Rows, bus: Bus
) -> None:
    service = start()
    bundle = work("hold", ["1", "2", "3"])
    rows.sql("select pg_advisory_lock(4711)")
    publish(bus, bundle)
    until(lambda: held(rows))
    service.send(signal.SIGTERM)
    until(lambda: any(beat.state == "draining" for beat in bus.heartbeats().values()))
    rows.sql("select pg_advisory_unlock(4711)")
    assert service.ended() == 0
    assert states(rows.reports(bundle)) == ["succeeded", "returned", "returned"]
    assert effects(rows) == ["1"]
    assert bus.heartbeats() == {}
    assert rows.one("select state from engine.worker") == "offline"
    assert [row["type"] for row in facts(rows)][-1] == "freshet.worker.offline.v1"


def test_a_drain_does_not_wait_for_ever(start: Start, work: Work, rows: Rows, bus: Bus) -> None:
    service = start(FRESHET_DRAIN_GRACE="0.5")
    bundle = work("evaluate", ["1", "time.sleep(1000)", "3"])
    publish(bus, bundle)
    until(lambda: rows.sql("select id from engine.bundle where done = 1"))
    service.send(signal.SIGTERM)
    assert service.ended() == 0
    assert states(rows.reports(bundle)) == ["succeeded", "returned", "returned"]


def facts(rows: Rows) -> list[dict[str, Any]]:
    found = rows.sql("select jsonb_array_elements(body) as fact from engine.outbox order by id")
    return [row["fact"] for row in found if row["fact"]["type"].startswith("freshet.worker")]


def test_the_heartbeat_adds_up_and_names_what_is_in_hand(start: Start, work: Work, rows: Rows, bus: Bus) -> None:
    start()
    bundle = work("hold", ["1"])
    rows.sql("select pg_advisory_lock(4711)")
    publish(bus, bundle)
    beat = until(lambda: next((each for each in bus.heartbeats().values() if each.bundle == bundle), None))
    assert beat.state == "busy"
    assert beat.wall_s == pytest.approx(beat.busy_s + beat.idle_s, abs=1e-9)
    rows.sql("select pg_advisory_unlock(4711)")
    until(lambda: not rows.exists(bundle))
    until(lambda: [each.state for each in bus.heartbeats().values()] == ["available"])


def test_a_worker_is_back_after_a_flush_and_after_its_witness_was_cut(
    start: Start, work: Work, rows: Rows, bus: Bus
) -> None:
    start()
    until(bus.heartbeats)
    key = rows.one("select lock_key from engine.worker")
    locked = (
        "select count(*) from pg_locks where locktype = 'advisory' and granted and database ="
        " (select oid from pg_database where datname = current_database())"
        " and (classid::bigint << 32 | objid::bigint) = %s"
    )
    until(lambda: rows.one(locked, key) == 1)
    bus.client.flushdb()
    rows.sql(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where application_name = 'freshet worker' and datname = current_database()"
    )
    until(bus.heartbeats)
    until(lambda: rows.one(locked, key) == 1)
    until(lambda: bus.client.smembers("rq:workers"))
    bundle = work("echo", ["alive"])
    publish(bus, bundle)
    until(lambda: not rows.exists(bundle))


def test_what_is_served_is_declared_and_subscribed(start: Start, rows: Rows, bus: Bus) -> None:
    start()
    (beat,) = until(bus.heartbeats).values()
    assert {"echo@1.0.0", "python", "sql", "q"} <= set(beat.queues)
    assert "job_service" not in beat.queues
    assert rows.one("select count(*) from engine.process where name = 'echo' and version = '1.0.0'") == 1
    assert rows.one("select queues @> '{echo@1.0.0}' from engine.worker")


def test_a_module_that_cannot_be_imported_ends_the_worker_with_a_sentence(start: Start) -> None:
    service = start(FRESHET_PROCESSES="no_such_module")
    assert service.ended() == 2
    assert service.log.read_text().startswith(
        "The module no_such_module of processes can't be imported: ModuleNotFoundError"
    )


def test_a_worker_waits_for_servers_that_are_away(start: Start, database: str) -> None:
    service = start(FRESHET_REDIS_URL="redis://127.0.0.1:1/0")
    until(lambda: "Redis can't be reached" in service.log.read_text())
    assert service.process.poll() is None
