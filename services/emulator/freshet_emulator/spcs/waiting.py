"""Replicas that wait for a node: what they are told, and which of a service's begin to wait again."""

from __future__ import annotations

from collections import deque

from freshet_emulator.spcs.jobs import NO_IMAGE, WAITING, Job, Replica

Queue = deque[tuple[Job, Replica]]


def explain(queue: Queue, reason: str) -> None:
    """Tell those that wait why; the newest first, up to one that knows."""
    for job, replica in reversed(queue):
        if replica.containers[0].message == reason:
            break
        job.message = reason if job.status == "PENDING" else job.message
        for container in replica.containers:
            container.message = reason


def has_all_images(job: Job, there: list[bool]) -> bool:
    """Whether all images of a job are there, one answer for each container; if not, the job says so."""
    if all(there):
        return True
    for (_, container), is_there in zip(job.containers(), there, strict=True):
        container.message = WAITING if is_there else NO_IMAGE
    job.message = NO_IMAGE
    return False


def started_over(service: Job) -> list[Replica]:
    """The instances of a service of which nothing runs, ready to be started once more."""
    idle = [replica for replica in service.replicas if not replica.live and (replica.ended or not replica.placed)]
    for replica in idle:
        replica.placed = False
        for container in replica.containers:
            container.start_over()
    return idle
