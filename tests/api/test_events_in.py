"""Events of other systems: stored once, and what they start."""

import threading
from typing import Any

import pytest

from api.conftest import MAX_BODY, TOKEN, Served, workflow
from freshet import publish
from freshet.domain.errors import ConflictError, DefinitionError, UnreachableError

STRUCTURED = {"Content-Type": "application/cloudevents+json"}
BATCH = {"Content-Type": "application/cloudevents-batch+json; charset=utf-8"}


def _event(**members: Any) -> dict[str, Any]:
    return {"specversion": "1.0", "id": "1", "source": "/shop", "type": "com.example.arrived", **members}


def _triggered(name: str = "pipeline", **trigger: Any) -> dict[str, Any]:
    return workflow(name, triggers=[{"event": "com.example.arrived", **trigger}])


def test_an_event_sent_three_times_starts_one_run(api: Served) -> None:
    api.apply(_triggered())
    answers = [api.post("/events", _event(), headers=STRUCTURED) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [202, 202, 202]
    assert [answer.json()["accepted"] for answer in answers] == [1, 0, 0]
    assert [answer.json()["duplicates"] for answer in answers] == [0, 1, 1]
    (run,) = api.execute("select id::text, trigger, origin from engine.run")
    assert answers[0].json()["runs"] == [run["id"]]
    assert (run["trigger"], run["origin"]) == ("event", "event:/shop:1:pipeline")
    assert len(api.execute("select * from engine.request")) == 1


def test_an_event_sent_by_many_at_once_starts_one_run(api: Served) -> None:
    api.apply(_triggered())
    start = threading.Barrier(4)
    answers = []

    def send() -> None:
        start.wait()
        answers.append(api.post("/events", _event(), headers=STRUCTURED).json())

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sum(answer["accepted"] for answer in answers) == 1
    assert len(api.execute("select * from engine.run")) == 1


def test_the_same_id_of_another_source_is_another_event(api: Served) -> None:
    api.apply(_triggered())
    api.post("/events", _event(), headers=STRUCTURED)
    assert len(api.post("/events", _event(source="/other"), headers=STRUCTURED).json()["runs"]) == 1


def test_conditions_choose_and_params_are_mapped(api: Served) -> None:
    api.apply(_triggered(when="event.data.size > 10", params={"batch": "event.data.size * 2"}))
    small = api.post("/events", _event(data={"size": 3}), headers=STRUCTURED).json()
    large = api.post("/events", _event(id="2", data={"size": 30}), headers=STRUCTURED).json()
    assert small["runs"] == []
    assert api.get(f"/runs/{large['runs'][0]}").json()["params"] == {"batch": 60}


def test_an_event_that_a_trigger_cannot_use_is_kept_and_starts_the_others(api: Served) -> None:
    api.apply(_triggered("picky", when="event.data.size > 10"))
    api.apply(_triggered("wrong", params={"batch": "event.subject"}))
    api.apply(_triggered("plain"))
    answer = api.post("/events", _event(subject="text"), headers=STRUCTURED).json()
    assert answer["accepted"] == 1
    assert [run["workflow"] for run in api.execute("select workflow from engine.run")] == ["plain"]


def test_two_matching_triggers_of_one_workflow_start_one_run(api: Served) -> None:
    twice = [{"event": "com.example.arrived", "params": {"batch": str(n)}} for n in (1, 2)]
    api.apply(workflow(triggers=twice))
    (run,) = api.post("/events", _event(), headers=STRUCTURED).json()["runs"]
    assert api.get(f"/runs/{run}").json()["params"] == {"batch": 1}


def test_a_paused_or_deleted_workflow_is_not_triggered(api: Served) -> None:
    api.apply(_triggered("paused"))
    api.apply(_triggered("deleted"))
    api.post("/workflows/paused/pause")
    api.http.delete("/workflows/deleted")
    assert api.post("/events", _event(), headers=STRUCTURED).json()["runs"] == []


def test_a_batch_is_stored_whole_or_not_at_all(api: Served) -> None:
    api.apply(_triggered())
    wrong = [_event(), _event(id="2", source="")]
    answer = api.post("/events", wrong, headers=BATCH)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/1/source")
    assert api.execute("select * from engine.event") == []
    batch = [_event(), _event(id="2"), _event()]
    assert api.post("/events", batch, headers=BATCH).json()["accepted"] == 2
    assert len(api.execute("select * from engine.run")) == 2


def test_a_binary_event_is_the_same_event(api: Served) -> None:
    api.apply(_triggered(params={"batch": "event.data.n"}))
    headers = {
        "ce-specversion": "1.0", "ce-id": "1", "ce-source": "/shop", "ce-type": "com.example.arrived",
        "ce-subject": "caf%C3%A9", "Content-Type": "application/json",
    }  # fmt: skip
    answer = api.http.post("/events", content=b'{"n": 5}', headers=headers).json()
    assert api.get(f"/runs/{answer['runs'][0]}").json()["params"] == {"batch": 5}
    assert api.post("/events", _event(), headers=STRUCTURED).json()["duplicates"] == 1
    (row,) = api.execute("select subject, body from engine.event")
    assert (row["subject"], row["body"]["data"]) == ("café", {"n": 5})


def test_what_is_no_event_is_refused(api: Served) -> None:
    assert api.post("/events", _event()).json()["code"] == "not_a_cloudevent"
    assert api.http.post("/events", content=b"x" * (MAX_BODY + 1), headers=STRUCTURED).status_code == 413
    assert api.http.post("/events", content=b"{", headers=STRUCTURED).json()["code"] == "not_json"
    assert api.http.post("/events").status_code == 422


@pytest.fixture
def sdk(api: Served, monkeypatch: pytest.MonkeyPatch) -> Served:
    monkeypatch.setenv("FRESHET_URL", api.url)
    monkeypatch.setenv("FRESHET_TOKEN", TOKEN)
    return api


def test_publish_starts_runs_and_is_safe_to_repeat(sdk: Served) -> None:
    sdk.apply(_triggered())
    first = publish("com.example.arrived", {"n": 1}, source="/sdk", subject="s", id="a")
    again = publish("com.example.arrived", {"n": 1}, source="/sdk", subject="s", id="a")
    assert (first["accepted"], len(first["runs"]), again["duplicates"]) == (1, 1, 1)
    assert publish("com.example.arrived")["accepted"] == 1


def test_publish_tells_what_is_wrong(sdk: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DefinitionError) as refused:
        publish("")
    assert refused.value.pointer == "/type"
    for unfit in ({1, 2}, float("nan"), {"deep": "a\0b"}):
        with pytest.raises(DefinitionError):
            publish("t", unfit)
    monkeypatch.setenv("FRESHET_TOKEN", "wrong")
    with pytest.raises(ConflictError):
        publish("t")
    monkeypatch.setenv("FRESHET_URL", "http://127.0.0.1:1")
    with pytest.raises(UnreachableError):
        publish("t")
