"""Rows as the dispatcher would write them, by plain SQL."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
import uuid_utils
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

SHIFT = 24


def uuid7() -> uuid.UUID:
    return uuid.UUID(bytes=uuid_utils.uuid7().bytes)


@dataclass
class Rows:
    """A database as the dispatcher sees it."""

    url: str
    session: psycopg.Connection[dict[str, Any]] = field(init=False)

    def __post_init__(self) -> None:
        self.session = psycopg.Connection.connect(self.url, autocommit=True, row_factory=dict_row)

    def sql(self, text: str, *values: Any) -> list[dict[str, Any]]:
        cursor = self.session.execute(text, values)
        return cursor.fetchall() if cursor.description else []

    def one(self, text: str, *values: Any) -> Any:
        (row,) = self.sql(text, *values)
        return next(iter(row.values()))

    def workflow(self, document: dict[str, Any], *, version: int = 1) -> str:
        name = document["name"]
        self.sql("insert into engine.workflow (name, version) values (%s, %s) on conflict do nothing", name, version)
        self.sql(
            "insert into engine.workflow_version (workflow, version, document, digest) values (%s, %s, %s, '')",
            name,
            version,
            Jsonb(document),
        )
        return name

    def run(self, workflow: str = "w", *, params: Any = None, version: int = 1) -> uuid.UUID:
        run = uuid7()
        self.sql(
            "insert into engine.run (id, workflow, version, state, trigger, params, group_id, started_at)"
            " values (%s, %s, %s, 'running', 'call', %s, %s, clock_timestamp())",
            run,
            workflow,
            version,
            Jsonb(params or {}),
            run,
        )
        return run

    def task(
        self,
        run: uuid.UUID,
        task: str = "t",
        *,
        kind: str = "process",
        index_path: str = "",
        parents: Sequence[str] = (),
        total: int = 1,
        values: Sequence[Any] | None = None,
        source_kind: str | None = None,
        source: int | None = None,
        scope: int | None = None,
        state: str = "running",
    ) -> int:
        finished = "clock_timestamp()" if state != "running" else "null"
        counter = {"succeeded": total if state == "succeeded" else 0, "failed": total if state == "failed" else 0}
        if values is not None:
            source_kind, total = "value", len(values)
            counter["succeeded"] = min(counter["succeeded"], total) and total
        key = self.one(
            "insert into engine.task_run (run_id, task, index_path, kind, parents, state, total, source_kind, source,"
            " scope, succeeded, failed, finished_at)"
            f" values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, {finished}) returning id",
            run,
            task,
            index_path,
            kind,
            list(parents),
            state,
            total,
            source_kind,
            source,
            scope,
            counter["succeeded"],
            counter["failed"],
        )
        if values is not None:
            self.sql("update engine.task_run set source = %s where id = %s", -key, key)
            self.values(-key, values)
        return key

    def values(self, source: int, values: Sequence[Any]) -> None:
        with self.session.cursor() as cursor:
            cursor.executemany(
                "insert into engine.value (source, idx, value) values (%s, %s, %s)",
                [(source, index, Jsonb(value)) for index, value in enumerate(values)],
            )

    def result(self, task: int, value: Any, index: int = 0) -> None:
        self.sql(
            "insert into engine.work_item (id, state, result, finished_at) values (%s, 'succeeded', %s, now())",
            task << SHIFT | index,
            Jsonb(value),
        )

    def bundle(
        self,
        task: int,
        indexes: Sequence[int] = (0,),
        *,
        queue: str = "q",
        timeout_s: float | None = None,
        attempt: int = 1,
    ) -> int:
        items = [task << SHIFT | index for index in indexes]
        self.sql("insert into engine.work_item (id) select unnest(%s::bigint[]) on conflict do nothing", items)
        return self.one(
            "insert into engine.bundle (run_id, partition, task_run_id, queue, priority, turn, items, attempts,"
            " timeout_s, published_at) select r.id, r.partition, t.id, %s, 100, 0, %s, %s, %s, now()"
            " from engine.task_run t join engine.run r on r.id = t.run_id where t.id = %s returning id",
            queue,
            items,
            [attempt] * len(items),
            timeout_s,
            task,
        )

    def reports(self, bundle: int | None = None) -> list[dict[str, Any]]:
        """Outcomes in the order of their reports."""
        rows = self.sql(
            "select body from engine.report where %s::bigint is null or bundle_id = %s order by id", bundle, bundle
        )
        return [outcome for row in rows for outcome in row["body"]]

    def exists(self, bundle: int) -> bool:
        return bool(self.one("select exists (select from engine.bundle where id = %s)", bundle))

    def release(self, bundle: int) -> None:
        """What a sweep does: the bundle goes, its rest is reported lost."""
        self.sql(
            "with gone as (delete from engine.bundle where id = %s returning *)"
            " insert into engine.report (partition, run_id, task_run_id, bundle_id, worker, claimed_at, body)"
            " select partition, run_id, task_run_id, id, worker, claimed_at,"
            " (select jsonb_agg(jsonb_build_object('i', i, 'a', a, 's', 'lost'))"
            " from unnest(items[done + 1:], attempts[done + 1:]) o(i, a)) from gone",
            bundle,
        )

    def close(self) -> None:
        self.session.close()
