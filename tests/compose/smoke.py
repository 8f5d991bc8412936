"""The whole of compose.yaml, alive: `python -m tests.compose.smoke`.

Builds the images, starts everything under a project name, a port and passwords of its own, runs the samples through
the CLI from the host, kills services and empties Redis in the middle of a run, counts that every effect happened
exactly once, scales, stops, and leaves nothing behind. Exit code 1 with a sentence when something is not as it should.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from freshet.testing.containers import free_port

ROOT = Path(__file__).parents[2]
ITEMS = 8_000
DEADLINE = 300.0  # seconds for whatever is waited for
PATIENCE = 900.0  # seconds for any command; building all images is the longest
FINAL = {"succeeded", "failed", "skipped", "cancelled"}

Json = dict[str, Any]


class SmokeError(Exception):
    """Something is not as it should be."""


@dataclass(frozen=True, kw_only=True)
class Stack:
    """One installation of compose.yaml."""

    project: str
    port: int = field(default_factory=free_port)
    token: str = field(default_factory=lambda: secrets.token_urlsafe(16))

    def environment(self) -> dict[str, str]:
        """What compose and the CLI are told."""
        return os.environ | {
            "COMPOSE_PROJECT_NAME": self.project,
            "FRESHET_VERSION": self.project,
            "FRESHET_PUBLISHED_PORT": str(self.port),
            "FRESHET_URL": f"http://127.0.0.1:{self.port}",
            "FRESHET_TOKEN": self.token,
            "FRESHET_POSTGRES_PASSWORD": self.token[:8],
            "FRESHET_REDIS_PASSWORD": self.token[-8:],
        }

    def compose(self, *arguments: str) -> str:
        """Run docker compose; its output."""
        return self._run(["docker", "compose", *arguments])

    def freshet(self, *arguments: str) -> Any:
        """Run a command of the CLI on the host; its JSON."""
        program = str(Path(sys.executable).with_name("freshet"))
        return json.loads(self._run([program, *arguments, "--json"]) or "null")

    def progress(self, run_id: str) -> int:
        """How many items of a fan-out have succeeded so far; asked of the api itself, the CLI takes a second."""
        address = f"http://127.0.0.1:{self.port}/api/v1/runs/{run_id}"
        request = urllib.request.Request(address, headers={"Authorization": f"Bearer {self.token}"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(json.load(answer)["tasks"]["work"]["items"]["succeeded"])

    def query(self, statement: str) -> str:
        """Ask Postgres itself."""
        psql = ("psql", "--username=freshet", "--no-align", "--tuples-only", "--quiet", f"--command={statement}")
        return self.compose("exec", "-T", "postgres", *psql).strip()

    def containers(self, service: str) -> list[str]:
        """The ids of a service's running containers."""
        return self.compose("ps", "--quiet", service).split()

    def crash(self, container: str) -> None:
        """SIGKILL the service inside its container, which ends with it and is started again by its policy.

        `docker kill` would count as wanted, and wanted ends are not repaired.
        """
        subprocess.run(["docker", "exec", container, "sh", "-c", "kill -9 -1"], check=False)

    def _run(self, command: list[str]) -> str:
        try:
            done = subprocess.run(
                command,
                cwd=ROOT,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                timeout=PATIENCE,
            )
        except subprocess.TimeoutExpired as error:
            raise SmokeError(f"{' '.join(command)} did not end within {PATIENCE:.0f} s") from error
        if done.returncode:
            raise SmokeError(f"{' '.join(command)} exited {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout


@contextmanager
def step(name: str) -> Iterator[None]:
    """Tell what is done and how long it took."""
    began = time.monotonic()
    yield
    print(f"  {name}: {time.monotonic() - began:.1f} s", flush=True)


def wait_until(what: str, check: Callable[[], bool]) -> None:
    """Ask until it is so; SmokeError after the deadline."""
    deadline = time.monotonic() + DEADLINE
    while not check():
        if time.monotonic() > deadline:
            raise SmokeError(f"{what} did not come about within {DEADLINE:.0f} s")
        time.sleep(0.2)


def expect(claim: str, actual: object, wanted: object) -> None:
    """SmokeError unless both are equal."""
    if actual != wanted:
        raise SmokeError(f"{claim}: {actual!r}, not {wanted!r}")


def run_samples(stack: Stack) -> None:
    """Every sample, once, to its end."""
    stack.freshet("apply", "examples/hello/workflow.yaml", "examples/pipeline/workflow.yaml")
    stack.freshet("import-jobconfig", "examples/spcs/jobconfig.json", "--name", "spcs-jobs")
    for workflow in ("hello", "document-pipeline", "spcs-jobs"):
        with step(f"run {workflow}"):
            run_id = stack.freshet("run", workflow)["run_id"]
            expect(f"state of {workflow}", ended(stack, run_id)["state"], "succeeded")
    done = "select count(*) from log.jobs_run_stats where job_status = 'DONE'"
    wait_until("six jobs that are DONE in the log", lambda: stack.query(done) == "6")


def survive(stack: Stack) -> None:
    """Kill a worker, the dispatcher and the recorder, and empty Redis, while a run inserts rows."""
    stack.freshet("apply", "examples/fanout/workflow.yaml")
    run_id = stack.freshet("run", "fanout-rows", "-p", f"n={ITEMS}")["run_id"]
    wait_until("the first rows", lambda: stack.progress(run_id) > 0)
    for service in ("worker", "dispatcher", "recorder"):
        stack.crash(stack.containers(service)[0])
    stack.compose("exec", "-T", "redis", "redis-cli", "flushall")
    if stack.progress(run_id) == ITEMS:
        raise SmokeError("the run was over before the last blow: it needs more items")
    run = ended(stack, run_id)
    expect("state after the crashes", run["state"], "succeeded")
    expect("items that succeeded", run["tasks"]["work"]["items"]["succeeded"], ITEMS)
    counted = stack.query(f"select count(*), count(distinct item) from fanout_rows where run_id = '{run_id}'")
    expect("rows and different rows", counted, f"{ITEMS}|{ITEMS}")


def ended(stack: Stack, run_id: str) -> Json:
    """The run object, once the run has ended. SmokeError with what it last was, after the deadline."""
    seen: list[Json] = []

    def final() -> bool:
        seen.append(stack.freshet("show", run_id))
        return seen[-1]["state"] in FINAL

    try:
        wait_until(f"the end of run {run_id}", final)
    except SmokeError as error:
        raise SmokeError(f"{error}; it is {json.dumps(seen[-1])}") from error
    return seen[-1]


def scale(stack: Stack) -> None:
    """Four workers serve, and each one's time adds up."""
    stack.compose("up", "--detach", "--wait", "--no-recreate", "--scale", "worker=4")
    serving = {"available", "busy"}
    wait_until(
        "four workers", lambda: len([each for each in stack.freshet("workers") if each["state"] in serving]) >= 4
    )
    for worker in stack.freshet("workers"):
        if abs(worker["busy_s"] + worker["idle_s"] - worker["wall_s"]) > max(0.01 * worker["wall_s"], 0.05):
            raise SmokeError(f"busy + idle is not wall: {worker}")


def stop(stack: Stack) -> None:
    """Everything ends by itself when asked to."""
    ids = [
        each
        for service in ("api", "scheduler", "dispatcher", "recorder", "worker")
        for each in stack.containers(service)
    ]
    stack.compose("stop")
    for container in ids:
        shape = "{{.Config.Image}} {{.State.ExitCode}}"
        answer = subprocess.run(
            ["docker", "inspect", "--format", shape, container], capture_output=True, text=True, check=True
        )
        expect(f"exit code of {answer.stdout.split()[0]}", answer.stdout.split()[1], "0")


def remove(stack: Stack) -> None:
    """Containers, volumes, networks and the images of this run."""
    stack.compose("down", "--volumes", "--remove-orphans", "--timeout", "5")
    images = [line for line in stack.compose("config", "--images").split() if line.endswith(f":{stack.project}")]
    subprocess.run(["docker", "image", "rm", "--force", *images], stdout=subprocess.DEVNULL, check=False)


def main() -> int:
    """Everything in order; 1 when something was wrong."""
    # As an exception, so that what was started is removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    stack = Stack(project=f"freshet-smoke-{os.getpid()}")
    steps: tuple[tuple[str, Callable[[Stack], object]], ...] = (
        ("build", lambda stack: stack.compose("build", "--quiet")),
        ("start", lambda stack: stack.compose("up", "--detach", "--wait", "--wait-timeout", "180")),
        ("samples", run_samples),
        ("crashes", survive),
        ("four workers", scale),
        ("stop", stop),
    )
    try:
        for name, act in steps:
            with step(name):
                act(stack)
    except SmokeError as error:
        print(f"--- the end of the logs ---\n{stack.compose('logs', '--tail', '30', '--no-color')}\n---\n{error}")
        return 1
    finally:
        remove(stack)
    return 0


if __name__ == "__main__":
    sys.exit(main())
