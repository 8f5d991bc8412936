"""The platform: which pools and jobs exist, and the one thread that places waiting jobs on free nodes.

One lock guards all pools and jobs. Waiters (synchronous statements, the placement thread) sleep on its condition;
nothing polls. Containers are started by the placement thread only, because they die with the thread that started them.
"""

from __future__ import annotations

import functools
import threading
from collections import deque
from collections.abc import Callable

import structlog

from freshet_emulator.errors import SqlError, missing, taken
from freshet_emulator.faults import Faults
from freshet_emulator.spcs.capacity import require_fit
from freshet_emulator.spcs.disturbances import is_held, run_out_of_memory
from freshet_emulator.spcs.jobs import (
    NO_ROOM,
    PROVISIONING,
    Container,
    Job,
    Replica,
    job_document,
    lose,
    stored_job,
)
from freshet_emulator.spcs.pool_table import PoolTable
from freshet_emulator.spcs.pools import Pool, utc_now
from freshet_emulator.spcs.processes import ContainerProcess
from freshet_emulator.spcs.runner import PlatformOptions
from freshet_emulator.spcs.runners import runner
from freshet_emulator.spcs.secrets import Secrets
from freshet_emulator.spcs.tokens import ContainerTokens
from freshet_emulator.spcs.waiting import explain, has_all_images, started_over
from freshet_emulator.sql.names import FullName
from freshet_emulator.state import StateStore

# How long containers get when the emulator itself stops (seconds).
STOP_GRACE = 2.0
# Dropped jobs that the history still knows; the real one forgets after thirty days.
REMEMBERED = 10_000
# A container of a long-running service that exits is started again after this long (seconds).
RESTART_PAUSE = 1.0
NODE_LOST = "Compute pool node was lost"
STOPPED = "The emulator stopped while the job ran"

log = structlog.get_logger()


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
        self.secrets = Secrets(store)
        self._runner = runner(options, tokens, self.secrets)
        self._changed = threading.Condition(threading.RLock())
        self._stopping = False
        self._pools = PoolTable(
            store,
            waiting=lambda name: len(self._waiting.get(name, ())),
            jobs_per_node=options.jobs_per_node,
            delay=options.node_start,
        )
        self._jobs: dict[FullName, Job] = {}
        self._history: dict[str, Job] = {}
        self._dropped: deque[str] = deque()
        self._waiting: dict[str, deque[tuple[Job, Replica]]] = {}
        self._thread = threading.Thread(target=self._place_while_running, name="placement", daemon=True)

    def start(self) -> None:
        """Take up the jobs of an earlier life and begin to place."""
        self._runner.prepare()
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
            return self._pools.all()

    def pool(self, name: str) -> Pool:
        """One pool. Raises SqlError 2003."""
        with self._changed:
            return self._pools.get(name)

    def create_pool(self, pool: Pool) -> None:
        """Add a pool. Raises SqlError 2002."""
        with self._changed:
            self._pools.add(pool)
            self._changed.notify_all()

    def change_pool(self, name: str, change: Callable[[Pool], None]) -> None:
        """Change a pool, and place what now fits. Nodes taken away take their newest jobs with them."""
        with self._changed:
            pool = self.pool(name)
            change(pool)
            self._pools.changed(pool)
            self._shrink(pool)
            self._changed.notify_all()

    def drop_pool(self, name: str) -> None:
        """Remove a pool. Raises SqlError while jobs that have not ended are in it."""
        with self._changed:
            self.pool(name)
            if any(job.pool == name and not job.ended for job in self._jobs.values()):
                raise SqlError(2043, "02000", f"SQL compilation error:\nCompute Pool '{name}' still has running jobs.")
            self._pools.remove(name)

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
            containers = [container.specification for container in job.replicas[0].containers]
            require_fit(pool.instance_family, containers)
            for container in containers:
                self.secrets.environment(container, job.name)
            if pool.suspended and pool.auto_resume:
                pool.resume()
                self._pools.changed(pool)
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

    def suspend(self, service: Job) -> None:
        """Stop the containers of a long-running service."""
        with self._changed:
            service.is_suspended = True
            self._stop_containers(service)
            self._settle(service)

    def resume(self, service: Job) -> None:
        """Start the containers of a suspended service again; nothing happens to another one."""
        with self._changed:
            if service.is_suspended:
                service.is_suspended = False
                self._start_over(service)

    def _start_over(self, service: Job) -> None:
        """Queue the instances of a service of which nothing runs."""
        with self._changed:
            if service.is_suspended or service.cancel_requested or self._stopping:
                return
            idle = started_over(service)
            self._waiting.setdefault(service.pool, deque()).extend((service, replica) for replica in idle)
            self._settle(service)

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
            run_out_of_memory(job)

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
        if job.is_suspended:
            return
        if is_held(self.faults, job):
            self._held.add(job.id)
            return
        if self._runner.pulls:
            threading.Thread(target=self._pull, args=(job,), name=f"pull-{job.id}", daemon=True).start()
        else:
            self._queue(job, [self._runner.has_image(container) for _, container in job.containers()])

    def _pull(self, job: Job) -> None:
        """Find the images of a job, which takes a while, and queue it then."""
        there = [self._runner.has_image(container) for _, container in job.containers()]
        with self._changed:
            if not job.ended:
                self._queue(job, there)
                self._changed.notify_all()

    def _queue(self, job: Job, there: list[bool]) -> None:
        if not has_all_images(job, there):
            return
        queue = self._waiting.setdefault(job.pool, deque())
        queue.extend((job, replica) for replica in job.replicas)

    def _halt(self, job: Job) -> None:
        job.cancel_requested = True
        self._stop_containers(job)
        self._settle(job)

    def _stop_containers(self, job: Job) -> None:
        for replica, container in job.containers():
            if replica.live and container.process is not None and not container.ended:
                container.status, container.message = "TERMINATING", "Terminating"
                container.process.stop(self.options.grace)

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
                    self._changed.wait(self._pools.pause())

    def _place(self, name: str, queue: deque[tuple[Job, Replica]]) -> int:
        """Start what fits into a pool, oldest first; how many replicas were started."""
        pool, started = self._pools.find(name), 0
        if pool is not None:
            self._pools.provision(pool)
        while queue and pool is not None and pool.has_room(self.options.jobs_per_node):
            job, replica = queue.popleft()
            if not job.ended and not job.cancel_requested:
                self._start(pool, job, replica)
                started += 1
        explain(queue, PROVISIONING if pool is not None and pool.starting else NO_ROOM)
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
        ended = functools.partial(self._exited, job, replica, container)
        try:
            process = self._runner.start(job, replica, container, ended)
        except (SqlError, OSError, ValueError) as error:  # a secret that is gone, a NUL in an argument
            container.output.append(f"{error}\n".encode())
            process = None
        if process is None:
            container.end(None)
            return
        container.process = process
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
            if not replica.live and (pool := self._pools.find(job.pool)) is not None:
                pool.used -= 1
            self._settle(job)
            if job.is_service and not replica.live and not job.is_suspended:
                timer = threading.Timer(RESTART_PAUSE, self._start_over, (job,))
                timer.daemon = True
                timer.start()
