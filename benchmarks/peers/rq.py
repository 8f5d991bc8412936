"""RQ: warm SimpleWorkers over the Redis socket.

Settings: `rq worker -w rq.SimpleWorker`, the fastest worker that RQ ships; results are kept as long as the join reads
them. A chain is made of `depends_on`. A fan is joined in two ways: by `depends_on` on all items, as documented, and
by a counter that user code keeps in Redis; the harness shows which. Never: a fork per job.
"""

from __future__ import annotations

import os
import time
import uuid
from functools import cache
from typing import Any

import psycopg
import redis
from rq import Queue, Worker
from rq.job import Job

from benchmarks.peers import session
from benchmarks.peers.session import Json, Place, await_true, blob, fibo, hops, processes, tally

QUEUE = "benchmark"
KEEP = 3600  # seconds for which results are kept
PATIENCE = 30  # seconds after which a job is taken for lost
MODULE = "benchmarks.peers.rq"
REDIS = "BENCH_REDIS_URL"
DATABASE = "BENCH_DATABASE_URL"


@cache
def connection() -> redis.Redis:
    """One connection for a process."""
    return redis.Redis.from_url(os.environ[REDIS], socket_timeout=KEEP)  # a wait for a result blocks


@cache
def database() -> psycopg.Connection[Any]:
    """One session for a process."""
    return psycopg.connect(os.environ[DATABASE], autocommit=True)


def queue() -> Queue:
    """The queue that the workers serve."""
    return Queue(QUEUE, connection=connection())


def enqueue(function: str, *arguments: Any, **options: Any) -> Job:
    """One job of a function of this module."""
    return queue().enqueue(f"{MODULE}.{function}", args=arguments, result_ttl=KEEP, **options)


def fan_out(count: int, join: str, work: str, *arguments: Any) -> None:
    """The first task: enqueue the items, and a job that depends on them all."""
    datas = [Queue.prepare_data(f"{MODULE}.{work}", args=(item, *arguments), result_ttl=KEEP) for item in range(count)]
    jobs = queue().enqueue_many(datas)
    enqueue("join_jobs", [job.id for job in jobs], job_id=join, depends_on=jobs)


def join_jobs(ids: list[str]) -> Json:
    """The last task: the results of all items."""
    jobs = Job.fetch_many(ids, connection=connection())
    return tally(job.return_value() for job in jobs if job is not None)


def count_out(count: int, join: str, work: str, *arguments: Any) -> None:
    """The first task of the other way: the item that comes last enqueues the join."""
    datas = [
        Queue.prepare_data(f"{MODULE}.counted", args=(item, count, join, work, *arguments), result_ttl=0)
        for item in range(count)
    ]
    queue().enqueue_many(datas)


def counted(item: int, count: int, join: str, work: str, *arguments: Any) -> None:
    """An item that puts its result where the join looks."""
    result = globals()[work](item, *arguments)
    with connection().pipeline() as pipe:
        pipe.rpush(f"results:{join}", repr(result))
        pipe.expire(f"results:{join}", KEEP)
        if pipe.execute()[0] == count:
            enqueue("join_counted", join, job_id=join)


def join_counted(join: str) -> Json:
    """The last task of the other way."""
    found: list[Any] = connection().lrange(f"results:{join}", 0, -1)
    texts = [text.decode() for text in found]
    return tally(text[1:-1] if text.startswith("'") else text for text in texts)


def echo(item: int) -> int:
    """Nothing."""
    return item


def insert(item: int, run: str) -> int:
    """One row."""
    database().execute("insert into bench_rows (run, item) values (%s, %s)", (run, item))
    return item


def mark(*_: Any) -> float:
    """When this ran."""
    return time.time()


class Adapter:
    """See `session.Adapter`."""

    kinds = frozenset({"hop", "fan", "small", "list", "rows", "payload", "diamonds", "fibo", "blocked"})

    def __init__(self, place: Place) -> None:
        """Start the workers and run a little on each."""
        os.environ |= {REDIS: place.redis_url, DATABASE: place.database_url}
        database().execute("create table if not exists bench_rows (run text not null, item bigint not null)")
        options = ["--url", place.redis_url, "-w", "rq.SimpleWorker", "--quiet", QUEUE]
        self._workers = processes([["rq", "worker", *options]] * place.workers, place)
        await_true(lambda: len(Worker.all(connection=connection())) == place.workers)
        self.finish("fan", self.start("fan", {"n": 50}))
        self.settings: Json = {"command": "rq worker -w rq.SimpleWorker --quiet", "result_ttl": KEEP}

    def roles(self) -> dict[str, list[int]]:
        """The workers."""
        return {f"worker-{number}": [worker.pid] for number, worker in enumerate(self._workers, start=1)}

    def start(self, kind: str, parameters: Json) -> Any:
        """The ids of the jobs whose ends are awaited."""
        match kind:
            case "hop":
                return chain("mark", parameters["length"])
            case "fibo":
                return chain(f"fibo_{parameters['argument']}", parameters["length"], parameters["argument"])
            case "diamonds":
                return [diamond() for _ in range(parameters["runs"])]
            case "blocked":
                return block(parameters["width"], parameters["runs"])
        return self._fan(kind, parameters)

    def finish(self, kind: str, asked: Any) -> Json:
        """Await the last job, by its stream of results."""
        if kind == "blocked":
            return {}
        last = [asked] if isinstance(asked, str) else (asked if kind == "diamonds" else asked[-1:])
        for identity in last:
            await_end(identity)
        if kind == "diamonds":
            return {"joined": 4 * len(asked)}
        if kind in {"hop", "fibo"}:
            values: list[Any] = [fetch(identity).return_value() for identity in asked]
            shown = {"hops_ms": hops(values)} if kind == "hop" else {"value": values[0]}
            return {"joined": len(values), **shown}
        joined: Any = fetch(asked).return_value()
        return {**joined, **(rows(asked) if kind == "rows" else {})}

    def close(self) -> None:
        """End the workers."""
        session.end(self._workers)

    def _fan(self, kind: str, parameters: Json) -> str:
        join = uuid.uuid4().hex
        first = "fan_out" if parameters.get("join") == "depends_on" else "count_out"
        work: tuple[Any, ...] = ("echo",)
        if kind == "rows":
            work = ("insert", join)
        elif kind == "payload":
            work = ("make_blob", parameters["bytes"])
        enqueue(first, parameters["n"], join, *work)
        return join


def make_blob(item: int, size: int) -> str:
    """A result of so many bytes."""
    return blob(item, size)


def work_fibo(argument: int) -> int:
    """The work of the public suite."""
    return fibo(argument)


def chain(function: str, length: int, *arguments: Any) -> list[str]:
    """Jobs each of which depends on the one before; their ids."""
    name = "work_fibo" if function.startswith("fibo") else function
    jobs = [enqueue(name, *arguments)]
    for _ in range(length - 1):
        jobs.append(enqueue(name, *arguments, depends_on=jobs[-1]))
    return [str(job.id) for job in jobs]


def diamond() -> str:
    """One, two beside each other, one; the last one's id."""
    top = enqueue("mark")
    sides = [enqueue("mark", depends_on=top) for _ in range(2)]
    return str(enqueue("mark", depends_on=sides).id)


def block(width: int, runs: int) -> list[str]:
    """Jobs that depend on jobs which stand in a queue that nobody serves."""
    nobody = Queue("nobody", connection=connection())
    gates = [nobody.enqueue(f"{MODULE}.mark", result_ttl=KEEP) for _ in range(runs)]
    return [str(enqueue("mark", depends_on=gate).id) for gate in gates for _ in range(width)]


def fetch(identity: str) -> Job:
    """A job by its id."""
    return Job.fetch(identity, connection=connection())


def await_end(identity: str) -> None:
    """Wait until a job that may not exist yet has a result. Raises RuntimeError when it failed."""
    await_true(lambda: Job.exists(identity, connection=connection()))
    result = fetch(identity).latest_result(timeout=PATIENCE)
    if result is None:
        raise TimeoutError(f"RQ left a job {fetch(identity).get_status()} for {PATIENCE} s")
    if result.type != result.Type.SUCCESSFUL:
        raise RuntimeError(f"a job failed: {result.exc_string}")


def rows(run: str) -> Json:
    """What the items have inserted."""
    query = "select count(*), count(distinct item) from bench_rows where run = %s"
    found = database().execute(query, [run]).fetchone()
    return {"rows": found[0], "distinct_rows": found[1]} if found else {}


if __name__ == "__main__":
    session.serve(Adapter)
