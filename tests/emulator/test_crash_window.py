"""What an emulator that is killed in the middle does in its next life."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from freshet_emulator.spcs import runner as runner_module
from freshet_emulator.spcs.environment import Endpoint
from freshet_emulator.spcs.images import ImageMap
from freshet_emulator.spcs.jobs import Job, new_replicas, stored_job
from freshet_emulator.spcs.platform import Platform
from freshet_emulator.spcs.pools import Pool
from freshet_emulator.spcs.processes import ContainerProcess
from freshet_emulator.spcs.runner import PlatformOptions
from freshet_emulator.spcs.tokens import ContainerTokens
from freshet_emulator.sql.names import FullName
from freshet_emulator.state import StateStore


def test_a_container_is_written_down_before_it_runs_so_that_no_later_life_starts_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = StateStore(None)
    kept: list[dict[str, Any]] = []

    def start(argv: Sequence[str], **options: Any) -> ContainerProcess:
        kept.extend(store.load("job"))  # all that is left of it, should the emulator be killed now
        return ContainerProcess(argv, **options)

    monkeypatch.setattr(runner_module, "ContainerProcess", start)
    endpoint = Endpoint(host="127.0.0.1", port=1, account="A")
    options = PlatformOptions(endpoint=endpoint, images=ImageMap(), environment={"PATH": "/bin:/usr/bin"})
    platform = Platform(options, store, ContainerTokens(tmp_path))
    platform.create_pool(Pool(name="P", max_nodes=1, instance_family="CPU_X64_XS"))
    platform.start()
    text = json.dumps({"spec": {"containers": [{"name": "main", "image": "/a/b/c/d:1", "command": ["true"]}]}})
    name = FullName(database="D", schema="S", name="J")
    job = Job(name=name, pool="P", specification=text, replicas=new_replicas(text, 1))
    platform.submit(job)
    assert platform.wait_for(job, lambda each: each.status == "DONE", 30.0)
    platform.stop()
    store.close()
    (document,) = kept
    again = stored_job(json.loads(json.dumps(document)))
    assert again.status == "INTERNAL_ERROR"
