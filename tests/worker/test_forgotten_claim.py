"""A claim is committed without waiting for the disk: what a crash of Postgres makes of that."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from tests.worker.rows import Rows

from freshet.domain.errors import ClaimLostError
from freshet.storage.database import Database
from freshet.storage.migrate import migrate
from freshet.storage.worker_store import WorkerStore
from freshet.testing.embedded import EmbeddedPostgres


@pytest.fixture
def server() -> Iterator[EmbeddedPostgres]:
    with tempfile.TemporaryDirectory(prefix="freshet-forgets-") as directory:
        server = EmbeddedPostgres(directory=Path(directory))
        server.start()
        try:
            migrate(server.url)
            yield server
        finally:
            server.stop()


@contextmanager
def store_of(server: EmbeddedPostgres) -> Iterator[WorkerStore]:
    database = Database(server.url, name="worker")
    yield WorkerStore(database)
    database.close()


def test_a_claim_that_a_crash_of_postgres_forgot_is_lost_and_its_bundle_goes_to_the_next(
    server: EmbeddedPostgres,
) -> None:
    rows = Rows(server.url)
    task = rows.task(rows.run(rows.workflow({"name": "w", "tasks": {"t": {"process": "p@1.0.0"}}})))
    bundle = rows.bundle(task)
    # What is not flushed with a commit is flushed by this process a moment later.
    os.kill(rows.one("select pid from pg_stat_activity where backend_type = 'walwriter'"), signal.SIGSTOP)
    forgotten = uuid4()
    with store_of(server) as store:
        claimed = store.claim(bundle, "w1", forgotten)
    assert claimed is not None
    rows.session.close()
    server.kill()
    server.start()
    rows = Rows(server.url)
    assert rows.one("select claim from engine.bundle") is None
    assert rows.sql("select * from engine.outbox") == []
    item = claimed.document["bundle"]["items"][0]
    done = [{"i": item, "a": 1, "s": "succeeded"}]
    again = uuid4()
    with store_of(server) as store:
        with pytest.raises(ClaimLostError):
            store.finish(bundle, forgotten, done)
        assert store.claim(bundle, "w2", again) is not None
        assert store.finish(bundle, again, done)
    assert rows.one("select count(*) from engine.report") == 1
    rows.session.close()
