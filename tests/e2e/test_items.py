"""User code that misbehaves fails its item with a sentence, never its worker or its neighbours."""

from __future__ import annotations

from typing import Any

import pytest
from tests.e2e.installation import Installation

pytestmark = [pytest.mark.xdist_group("items"), pytest.mark.timeout(600)]


def run_one(installation: Installation, process: str, **more: Any) -> dict[str, Any]:
    name = process.replace("_", "-")
    installation.apply({"name": name, "tasks": {"t": {"process": f"{process}@1.0.0", **more}}})
    found = installation.ended(installation.start(name))
    task: dict[str, Any] = found["tasks"]["t"]
    return task


@pytest.mark.parametrize(
    ("process", "sentence"),
    [
        ("e2e_commit", "what it committed stays"),
        ("e2e_nan", "NaN"),
        ("e2e_nul", "NUL"),
        ("e2e_exit", "exit"),
    ],
)
def test_a_process_that_misbehaves_fails_with_its_sentence(
    installation: Installation, process: str, sentence: str
) -> None:
    workers = set(installation.pids("worker"))
    task = run_one(installation, process)
    assert task["state"] == "failed"
    assert sentence.lower() in str(task["error"]).lower()
    assert set(installation.pids("worker")) == workers


def test_a_process_that_ended_its_transaction_is_not_tried_again(installation: Installation) -> None:
    assert run_one(installation, "e2e_commit", retries={"limit": 3})["attempts"] == 1


def test_a_process_that_hangs_in_c_code_expires(installation: Installation) -> None:
    task = run_one(installation, "e2e_hang_in_c", timeout="PT1S")
    assert task["state"] == "failed"
    assert installation.one("select count(*) from engine.work_item where state = 'expired'") >= 1


def test_the_other_items_of_a_bundle_go_on(installation: Installation) -> None:
    installation.apply({"name": "mixed", "tasks": {"m": {"process": "e2e_mixed@1.0.0", "for_each": 40}}})
    found = installation.ended(installation.start("mixed"))
    items = found["tasks"]["m"]["items"]
    assert (items["succeeded"], items["failed"]) == (37, 3)


def test_an_event_sent_three_times_starts_one_run(installation: Installation) -> None:
    installation.apply(
        {
            "name": "on-event",
            "triggers": [{"event": "com.example.arrived"}],
            "tasks": {"m": {"process": "e2e_mixed@1.0.0", "for_each": 1}},
        }
    )
    event = {"specversion": "1.0", "id": "1", "source": "/test", "type": "com.example.arrived", "data": {"x": 1}}
    for _ in range(3):
        answer = installation.client.post(
            "/api/v1/events", json=event, headers={"Content-Type": "application/cloudevents+json"}
        )
        assert answer.status_code == 202, answer.text
    runs = installation.client.get("/api/v1/runs", params={"workflow": "on-event"}).json()["items"]
    assert len(runs) == 1
    assert installation.ended(runs[0]["run_id"])["state"] == "succeeded"


def test_a_worker_is_busy_and_idle_for_all_of_its_time(installation: Installation) -> None:
    for worker in installation.client.get("/api/v1/workers").json()["items"]:
        assert worker["busy_s"] + worker["idle_s"] == pytest.approx(worker["wall_s"], rel=0.01)
