"""The platform: which pools and jobs exist, and the one thread that places waiting jobs on free nodes.

One lock guards all pools and jobs. Waiters (synchronous statements, the placement thread) sleep on its condition;
nothing polls. Containers are started by the placement thread only, because they die with the thread that started them.
"""

from __future__ import annotations

import functools
import shutil
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog

from freshet_emulator.errors import SqlError, missing, taken
from freshet_emulator.faults import Faults
from freshet_emulator.spcs.environment import Endpoint, container_environment
from freshet_emulator.spcs.images import ImageMap
from freshet_emulator.spcs.jobs import (
    NO_IMAGE,
    NO_ROOM,
    OUT_OF_MEMORY,
    WAITING,
    Container,
    Job,
    Replica,
    job_document,
    lose,
    stored_job,
)
from freshet_emulator.spcs.pools import Pool, stored_pool, utc_now
from freshet_emulator.spcs.processes import ContainerProcess
from freshet_emulator.spcs.tokens import ContainerTokens
from freshet_emulator.sql.names import FullName
from freshet_emulator.state import StateStore

# How long containers get when the emulator itself stops (seconds).
STOP_GRACE = 2.0
# Dropped jobs that the history still knows; the real one forgets after thirty days.
REMEMBERED = 10_000
NODE_LOST = "Compute pool node was lost"
STOPPED = "The emulator stopped while the job ran"

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True, slots=True)
class PlatformOptions:
    """How containers are run: `grace` in seconds between SIGTERM and SIGKILL, slots of a node."""

    endpoint: Endpoint
    images: ImageMap
    environment: Mapping[str, str]
    grace: float = 30.0
    jobs_per_node: int = 1


class Platform:
    """Pools and jobs. Safe to call from any thread."""

    def __init__(
        self, options: PlatformOptions, store: StateStore, tokens: ContainerTokens, faults: Faults | None = None
    ) -> None:
        self.options = options
        self.faults = faults or Faults()
        self._held: set[str] = set()
        self._store = store
        self._tokens = tokens
        self._changed = threading.Condition(threading.RLock())
        self._stopping = False
        self._pools = {pool.name: pool for pool in map(stored_pool, store.load("pool"))}
        self._jobs: dict[FullName, Job] = {}
        self._history: dict[str, Job] = {}
        self._dropped: deque[str] = deque()
        self._waiting: dict[str, deque[tuple[Job, Replica]]] = {}
        self._thread = threading.Thread(target=self._place_while_running, name="placement", daemon=True)

    def start(self) -> None:
        """Take up the jobs of an earlier life and begin to place."""
        with self._changed:
            for job in map(stored_job, self._store.load("job")):
                self._history[job.id] = job
                if job.deleted_on is None:
                    self._jobs[job.name] = job
                else:
                    self._dropped.append(job.id)
                if not job.ended:
                    self._enqueue(job)
                self._save(job)
        self._thread.start()

    def stop(self) -> None:
        """Stop all containers, then the placement. Jobs that ran end as INTERNAL_ERROR."""
        with self._changed:
            self._stopping = True
            for process in self._processes():
                process.stop(STOP_GRACE)
            self._changed.wait_for(lambda: not self._processes(), timeout=2 * STOP_GRACE)
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    def _processes(self) -> list[ContainerProcess]:
        jobs = [job for job in self._history.values() if any(replica.live for replica in job.replicas)]
        return [c.process for job in jobs for r, c in job.containers() if r.live and c.process is not None]

    # Pools

    def pools(self) -> list[Pool]:
        """All pools, by name."""
        with self._changed:
            return sorted(self._pools.values(), key=lambda pool: pool.name)

    def pool(self, name: str) -> Pool:
        """One pool. Raises SqlError 2003."""
        with self._changed:
            if name not in self._pools:
                raise missing("Compute Pool", name)
            return self._pools[name]

    def create_pool(self, pool: Pool) -> None:
        """Add a pool. Raises SqlError 2002."""
        with self._changed:
            if pool.name in self._pools:
                raise taken(pool.name)
            self._pools[pool.name] = pool
            self._save_pool(pool)

    def change_pool(self, name: str, change: Callable[[Pool], None]) -> None:
        """Change a pool, and place what now fits. Nodes taken away take their newest jobs with them."""
        with self._changed:
            pool = self.pool(name)
            change(pool)
            self._save_pool(pool)
            self._shrink(pool)
            self._changed.notify_all()

    def drop_pool(self, name: str) -> None:
        """Remove a pool. Raises SqlError while jobs that have not ended are in it."""
        with self._changed:
            self.pool(name)
            if any(job.pool == name and not job.ended for job in self._jobs.values()):
                raise SqlError(2043, "02000", f"SQL compilation error:\nCompute Pool '{name}' still has running jobs.")
            del self._pools[name]
            self._store.remove("pool", name)

    def stop_all(self, pool: str) -> None:
        """ALTER COMPUTE POOL … STOP ALL: drop every job in it."""
        with self._changed:
            for job in [job for job in self._jobs.values() if job.pool == pool]:
                self._drop(job)

    def _shrink(self, pool: Pool) -> None:
        excess = pool.used - pool.max_nodes * self.options.jobs_per_node
        running = [job for job in self._jobs.values() if job.pool == pool.name and job.status == "RUNNING"]
        for job in sorted(running, key=lambda job: job.created_on, reverse=True)[: max(0, excess)]:
            self._fail_node(job)

    def _save_pool(self, pool: Pool) -> None:
        self._store.save("pool", pool.name, pool.document())

    # Jobs

    def all_jobs(self) -> list[Job]:
        """All jobs that have not been dropped, in order of creation."""
        with self._changed:
            return list(self._jobs.values())

    def jobs(self) -> list[Job]:
        """Those of them that a client sees: a fault can leave one to the history only."""
        return [job for job in self.all_jobs() if not self.faults.take_job("history_only", str(job.name))]

    def history(self) -> list[Job]:
        """All jobs ever, dropped ones too, newest first."""
        with self._changed:
            return sorted(self._history.values(), key=lambda job: job.created_on, reverse=True)

    def job(self, name: FullName) -> Job:
        """One job. Raises SqlError 2003."""
        with self._changed:
            if name not in self._jobs or self.faults.take_job("history_only", str(name)):
                raise missing("Service", str(name))
            return self._jobs[name]

    def submit(self, job: Job) -> None:
        """Take a new job; its pool must exist (2003) and its name be free (2002)."""
        with self._changed:
            pool = self.pool(job.pool)
            if job.name in self._jobs:
                raise taken(str(job.name))
            if pool.suspended and pool.auto_resume:
                pool.resume()
                self._save_pool(pool)
            self._jobs[job.name] = job
            self._history[job.id] = job
            self._enqueue(job)
            self._save(job)
            self._changed.notify_all()

    def cancel(self, name: FullName) -> bool:
        """Stop a job. False if it had ended already; raises SqlError 2003."""
        with self._changed:
            job = self.job(name)
            if job.ended:
                return False
            self._halt(job)
            return True

    def drop(self, name: FullName) -> None:
        """Forget a job and stop it if it runs; it stays in the history. Raises SqlError 2003."""
        with self._changed:
            self._drop(self.job(name))

    def _drop(self, job: Job) -> None:
        del self._jobs[job.name]
        job.deleted_on = utc_now()
        self._remember(job)
        if job.ended:
            self._save(job)
        else:
            self._halt(job)

    def _remember(self, job: Job) -> None:
        self._dropped.append(job.id)
        while len(self._dropped) > REMEMBERED:
            forgotten = self._dropped.popleft()
            del self._history[forgotten]
            self._store.remove("job", forgotten)

    def strike(self) -> None:
        """Let the faults hit that are for jobs which run: a lost node (INTERNAL_ERROR), too little memory (FAILED)."""
        with self._changed:
            for job in list(self._jobs.values()):
                if any(replica.live for replica in job.replicas):
                    self._strike(job)

    def _strike(self, job: Job) -> None:
        if not job.ended and self.faults.take_job("node_lost", str(job.name)):
            self._fail_node(job)
        if not job.ended and self.faults.take_job("oom", str(job.name)):
            for replica, container in job.containers():
                if replica.live and container.process is not None:
                    container.killed_by = OUT_OF_MEMORY
                    container.process.kill()

    def release_held(self) -> None:
        """Queue the jobs that a fault held back and no fault holds any more."""
        with self._changed:
            held, self._held = self._held, set()
            for job in [job for job in self._jobs.values() if job.id in held and not job.ended]:
                self._enqueue(job)
            self._changed.notify_all()

    def wait_for(self, job: Job, reached: Callable[[Job], bool], timeout: float | None) -> bool:
        """Sleep until a job is as wanted; False after `timeout` seconds or when the emulator stops."""
        with self._changed:
            self._changed.wait_for(lambda: reached(job) or self._stopping, timeout)
            return reached(job)

    def _enqueue(self, job: Job) -> None:
        if self._is_held(job):
            return
        commands = [self.options.images.command(container.specification) for _, container in job.containers()]
        if None in commands:
            for (_, container), command in zip(job.containers(), commands, strict=True):
                container.message = WAITING if command else NO_IMAGE
            job.message = NO_IMAGE
            return
        queue = self._waiting.setdefault(job.pool, deque())
        queue.extend((job, replica) for replica in job.replicas)

    def _is_held(self, job: Job) -> bool:
        """Whether a fault keeps a job from starting."""
        message = ""
        if self.faults.take_job("image_pull", str(job.name)):
            message = NO_IMAGE
        elif self.faults.take_job("stuck_pending", str(job.name)):
            message = NO_ROOM
        for _, container in job.containers():
            container.message = message or WAITING
        job.message = message or WAITING
        if message:
            self._held.add(job.id)
        return bool(message)

    def _halt(self, job: Job) -> None:
        job.cancel_requested = True
        for replica, container in job.containers():
            if replica.live and container.process is not None and not container.ended:
                container.status, container.message = "TERMINATING", "Terminating"
                container.process.stop(self.options.grace)
        self._settle(job)

    def _fail_node(self, job: Job) -> None:
        lose(job, NODE_LOST)
        for replica, container in job.containers():
            if replica.live and container.process is not None:
                container.process.kill()
        self._settle(job)

    def _settle(self, job: Job) -> None:
        before = job.status
        job.settle()
        if job.ended:
            self._tokens.revoke(job.id)
        if job.status != before:
            log.info("job_changed", name=str(job.name), status=job.status, reason=job.message)
        self._save(job)
        self._changed.notify_all()

    def _save(self, job: Job) -> None:
        self._store.save("job", job.id, job_document(job))

    # Placement

    def _place_while_running(self) -> None:
        with self._changed:
            while not self._stopping:
                if not sum(self._place(name, queue) for name, queue in self._waiting.items()):
                    self._changed.wait()

    def _place(self, name: str, queue: deque[tuple[Job, Replica]]) -> int:
        """Start what fits into a pool, oldest first; how many replicas were started."""
        pool, started = self._pools.get(name), 0
        while queue and pool is not None and pool.has_room(self.options.jobs_per_node):
            job, replica = queue.popleft()
            if not job.ended and not job.cancel_requested:
                self._start(pool, job, replica)
                started += 1
        for job, replica in reversed(queue):
            if job.message == NO_ROOM:
                break
            job.message = NO_ROOM if job.status == "PENDING" else job.message
            for container in replica.containers:
                container.message = NO_ROOM
        return started

    def _start(self, pool: Pool, job: Job, replica: Replica) -> None:
        pool.used += 1
        replica.placed = True
        for container in replica.containers:
            container.started_at = utc_now()
        # Written down before it runs: an emulator killed in between would else start it a second time.
        self._save(job)
        for container in replica.containers:
            self._start_container(job, replica, container)
        if not replica.live:
            pool.used -= 1
        self._settle(job)
        self._strike(job)

    def _start_container(self, job: Job, replica: Replica, container: Container) -> None:
        argv = self.options.images.command(container.specification) or []
        token = self._tokens.issue(job.id, job.name)
        environment = container_environment(
            self.options.environment, self.options.endpoint, job=job, replica=replica, container=container, token=token
        )
        if shutil.which(argv[0], path=environment.get("PATH")) is None:
            container.output.append(f"{argv[0]}: no such program\n".encode())
            container.end(None)
            return
        container.process = ContainerProcess(
            argv,
            environment=environment,
            output=container.output,
            on_exit=functools.partial(self._exited, job, replica, container),
        )
        replica.live += 1
        container.status, container.message = "READY", "Running"

    def _exited(self, job: Job, replica: Replica, container: Container, code: int) -> None:
        with self._changed:
            replica.live -= 1
            if self._stopping and not job.cancel_requested:
                lose(job, STOPPED)
            container.exit_code = code
            if not container.ended:
                container.end(code)
            if not replica.live and job.pool in self._pools:
                self._pools[job.pool].used -= 1
            self._settle(job)
