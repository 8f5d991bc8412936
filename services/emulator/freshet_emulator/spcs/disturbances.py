"""What the fault switches do to jobs, apart from ending them."""

from __future__ import annotations

from freshet_emulator.faults import Faults
from freshet_emulator.spcs.jobs import NO_IMAGE, NO_ROOM, OUT_OF_MEMORY, WAITING, Job


def is_held(faults: Faults, job: Job) -> bool:
    """Whether a fault keeps a job from starting; its containers then say what they wait for."""
    message = ""
    if faults.take_job("image_pull", str(job.name)):
        message = NO_IMAGE
    elif faults.take_job("stuck_pending", str(job.name)):
        message = NO_ROOM
    for _, container in job.containers():
        container.message = message or WAITING
    job.message = message or WAITING
    return bool(message)


def run_out_of_memory(job: Job) -> None:
    """Kill the containers of a job as the kernel does when they take too much."""
    for replica, container in job.containers():
        if replica.live and container.process is not None:
            container.killed_by = OUT_OF_MEMORY
            container.process.kill()
