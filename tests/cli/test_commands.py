"""The command line against a real HTTP server: what it sends, what it says, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from .conftest import Call, Server

WORKFLOW = """\
name: hello
params: {batch: {type: integer, default: 4}, note: {type: string, default: ""}}
tasks:
  greet:
    process: greeter@1.0.0
  part:
    process: absent
    after: [greet]
"""
RUN_ID = "01920000-0000-7000-8000-000000000001"


def _run(state: str, **changes: Any) -> dict[str, Any]:
    task = {
        "kind": "process",
        "state": state,
        "after": [],
        "items": {"total": 1, "succeeded": 1, "failed": 0, "skipped": 0, "cancelled": 0},
        "attempts": 1,
        "error": None,
    }
    return {
        "run_id": RUN_ID,
        "workflow": "hello",
        "version": 1,
        "state": state,
        "recorded": False,
        "tasks": {"greet": task},
        **changes,
    }


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "hello.yaml"
    path.write_text(WORKFLOW)
    return path


def test_nothing_running_says_how_to_start(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FRESHET_URL", raising=False)
    done = call("runs")
    assert (done.code, done.out) == (2, "")
    assert "freshet up" in done.err


def test_a_server_that_does_not_answer_is_named(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRESHET_URL", "http://127.0.0.1:1")
    done = call("runs")
    assert done.code == 2
    assert done.err.startswith("http://127.0.0.1:1 does not answer")


def test_a_wrong_setting_is_named(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRESHET_URL", "localhost:8080")
    done = call("runs")
    assert done.code == 2
    assert done.err.startswith("FRESHET_URL has a wrong value")


def test_an_unknown_command_is_wrong_use(call: Call) -> None:
    assert call("runz").code == 2


def test_the_token_is_sent(call: Call, server: Server) -> None:
    server.on("GET /api/v1/runs", (200, {"items": [], "next": None}))
    assert call("runs").code == 0
    assert server.headers[0]["authorization"] == "Bearer t0ken"


def test_a_refused_token_says_which_variable(call: Call, server: Server) -> None:
    server.on("GET /api/v1/runs", (401, {"detail": "No token.", "status": 401}))
    done = call("runs")
    assert (done.code, done.err) == (2, "No token. Set FRESHET_TOKEN.\n")


def test_json_is_all_that_is_printed(call: Call, server: Server) -> None:
    server.on("GET /api/v1/runs", (200, {"items": [{"run_id": RUN_ID}], "next": None}))
    done = call("runs", "--json")
    assert json.loads(done.out) == [{"run_id": RUN_ID}]
    assert done.err == ""


def test_lists_are_read_page_by_page_up_to_the_limit(call: Call, server: Server) -> None:
    first = {"items": [{"run_id": "a"}, {"run_id": "b"}], "next": "b"}
    server.on("GET /api/v1/runs", (200, first), (200, {"items": [{"run_id": "c"}, {"run_id": "d"}], "next": "d"}))
    done = call("runs", "--limit", "3", "--workflow", "hello", "--json")
    assert [run["run_id"] for run in json.loads(done.out)] == ["a", "b", "c"]
    assert [what for what, _ in server.requests] == [
        "GET /api/v1/runs?limit=3&workflow=hello",
        "GET /api/v1/runs?after=b&limit=1&workflow=hello",
    ]


def test_apply_sends_the_normalised_document(call: Call, server: Server, file: Path) -> None:
    server.on("PUT /api/v1/workflows/hello", (200, {"name": "hello", "version": 1, "created": True}))
    done = call("apply", str(file))
    assert (done.code, done.out) == (0, "hello v1 applied.\n")
    (sent,) = server.bodies("PUT /api/v1/workflows/hello")
    assert sent["tasks"]["greet"] == {"process": "greeter@1.0.0"}


def test_apply_refuses_a_bad_file_with_its_line_and_sends_nothing(
    call: Call, server: Server, file: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(WORKFLOW.replace("after: [greet]", "after: [nobody]"))
    done = call("apply", str(file), str(bad))
    assert done.code == 2
    assert done.err.startswith(f"{bad}:8: ")
    assert "nobody" in done.err
    assert server.requests == []


def test_what_the_server_refuses_is_shown_at_its_line(call: Call, server: Server, file: Path) -> None:
    problem = {
        "type": "about:blank",
        "title": "Refused",
        "status": 422,
        "detail": "The definition is refused.",
        "code": "definition_refused",
        "errors": [{"pointer": "/tasks/part/process", "detail": "no process is called 'absent'"}],
    }
    server.on("PUT /api/v1/workflows/hello", (422, problem))
    done = call("apply", str(file))
    assert (done.code, done.out) == (2, "")
    assert done.err == f"{file}:7: no process is called 'absent'\n"


def test_a_missing_file_is_a_sentence(call: Call, server: Server, tmp_path: Path) -> None:
    done = call("apply", str(tmp_path / "none.yaml"))
    assert done.code == 2
    assert "can't be read" in done.err


def test_parameters_are_typed_by_the_workflow(call: Call, server: Server, file: Path) -> None:
    document = {
        "name": "hello",
        "params": {"batch": {"type": "integer", "default": 4}, "note": {"type": "string", "default": ""}},
        "tasks": {"greet": {"process": "greeter@1.0.0"}},
    }
    server.on("GET /api/v1/workflows/hello", (200, {"name": "hello", "version": 1, "document": document}))
    server.on("POST /api/v1/workflows/hello/runs", (201, _run("pending")))
    done = call("run", "hello", "-p", "batch=8", "-p", "note=8")
    assert (done.code, done.out) == (0, f"{RUN_ID}\n")
    assert server.bodies("POST /api/v1/workflows/hello/runs") == [
        {"params": {"batch": 8, "note": "8"}, "scheduled_for": None}
    ]


@pytest.mark.parametrize("given", ["batch=many", "nothing=1", "batch"])
def test_wrong_parameters_start_nothing(call: Call, server: Server, given: str) -> None:
    document = {
        "name": "hello",
        "params": {"batch": {"type": "integer", "default": 4}},
        "tasks": {"greet": {"process": "greeter@1.0.0"}},
    }
    server.on("GET /api/v1/workflows/hello", (200, {"name": "hello", "version": 1, "document": document}))
    done = call("run", "hello", "-p", given)
    assert done.code == 2
    assert given.partition("=")[0] in done.err
    assert server.bodies("POST /api/v1/workflows/hello/runs") == []


@pytest.mark.parametrize(("state", "code"), [("succeeded", 0), ("failed", 1), ("cancelled", 1)])
def test_run_wait_returns_once_the_run_is_recorded(call: Call, server: Server, state: str, code: int) -> None:
    server.on("POST /api/v1/workflows/hello/runs", (201, _run("pending")))
    server.on(f"GET /api/v1/runs/{RUN_ID}/events", (200, "event: x\ndata: {}\n\n"))
    server.on(
        f"GET /api/v1/runs/{RUN_ID}",
        (200, _run("running")),
        (200, _run(state)),
        (200, _run(state, recorded=True)),
    )
    done = call("run", "hello", "--wait")
    assert done.code == code
    assert done.out.splitlines()[-1] == f"hello  {state}  {RUN_ID}"
    assert f"hello  greet  {state}  1/1" in done.out.splitlines()


def test_run_wait_json_prints_the_run_object_only_and_needs_no_feed(call: Call, server: Server) -> None:
    server.on("POST /api/v1/workflows/hello/runs", (201, _run("pending")))
    server.on(f"GET /api/v1/runs/{RUN_ID}", (200, _run("failed", recorded=True)))
    done = call("run", "hello", "--wait", "--json")
    assert done.code == 1
    assert json.loads(done.out) == _run("failed", recorded=True)


def test_an_unknown_run_is_a_sentence(call: Call, server: Server) -> None:
    done = call("show", "nope")
    assert (done.code, done.err) == (2, "There is nothing here.\n")


def test_show_draws_the_run(call: Call, server: Server) -> None:
    server.on(f"GET /api/v1/runs/{RUN_ID}", (200, _run("succeeded")))
    assert "● greet" in call("show", RUN_ID).out


def test_logs_are_read_to_their_end(call: Call, server: Server) -> None:
    entry = {"item": "3", "attempt": 1, "text": "one\ntwo\n"}
    where = f"GET /api/v1/runs/{RUN_ID}/tasks/greet/logs"
    server.on(where, (200, {"items": [entry], "next": "c1"}), (200, {"items": [], "next": "c1"}))
    done = call("logs", RUN_ID, "greet", "--item", "3")
    assert done.out == "[3#1] one\n[3#1] two\n"
    assert server.requests[1][0].endswith("?item=3&after=c1")


def test_parts_of_several_items_are_told_apart_line_by_line(call: Call, server: Server) -> None:
    where = f"GET /api/v1/runs/{RUN_ID}/tasks/greet/logs"
    said = [("1", "one\ntw"), ("1", "o\nthr"), ("2", "another\n"), ("1", "ee")]
    parts = [{"item": item, "attempt": 1, "text": text} for item, text in said]
    server.on(where, (200, {"items": parts, "next": "c1"}), (200, {"items": [], "next": "c1"}))
    lines = ["[1#1] one", "[1#1] two", "[1#1] thr", "[2#1] another", "[1#1] ee"]
    assert call("logs", RUN_ID, "greet").out.splitlines() == lines


def test_logs_follow_until_the_run_is_recorded(call: Call, server: Server) -> None:
    where = f"GET /api/v1/runs/{RUN_ID}/tasks/greet/logs"
    first, last = ({"item": "", "attempt": 1, "text": text} for text in ("beg", "in\nend"))
    server.on(
        where,
        (200, {"items": [first], "next": "c1"}),
        (200, {"items": [], "next": "c1"}),
        (200, {"items": [last], "next": "c2"}),
        (200, {"items": [], "next": "c2"}),
    )
    server.on(f"GET /api/v1/runs/{RUN_ID}", (200, _run("running")), (200, _run("succeeded", recorded=True)))
    assert call("logs", RUN_ID, "greet", "--follow").out == "begin\nend\n"


@pytest.mark.parametrize(
    ("arguments", "body"),
    [
        ([], {"mode": "all"}),
        (["--failed"], {"mode": "failed"}),
        (["--from", "greet"], {"mode": "from", "task": "greet"}),
    ],
)
def test_rerun_says_what_runs_again(call: Call, server: Server, arguments: list[str], body: Any) -> None:
    server.on(f"POST /api/v1/runs/{RUN_ID}/rerun", (201, _run("pending", run_id="new")))
    assert call("rerun", RUN_ID, *arguments).out == "new\n"
    assert server.bodies(f"POST /api/v1/runs/{RUN_ID}/rerun") == [body]


def test_rerun_refuses_two_modes(call: Call, server: Server) -> None:
    assert call("rerun", RUN_ID, "--failed", "--from", "greet").code == 2
    assert server.requests == []


def test_publish_sends_a_cloudevent(call: Call, server: Server) -> None:
    server.on("POST /api/v1/events", (202, {"runs": []}))
    done = call("publish", "com.example.arrived", "--subject", "a.pdf", "--data", '{"pages": 3}', "--id", "e1")
    assert done.code == 0
    assert server.bodies("POST /api/v1/events") == [
        {
            "specversion": "1.0",
            "id": "e1",
            "type": "com.example.arrived",
            "source": "/freshet/cli",
            "subject": "a.pdf",
            "datacontenttype": "application/json",
            "data": {"pages": 3},
        }
    ]
    assert server.headers[0]["content-type"] == "application/cloudevents+json"


def test_publish_refuses_what_is_no_json(call: Call, server: Server) -> None:
    done = call("publish", "com.example.arrived", "--data", "{pages: 3}")
    assert (done.code, server.requests) == (2, [])
    assert done.err.startswith("--data is no JSON")


def test_backfill_refuses_what_is_no_time(call: Call, server: Server) -> None:
    done = call("backfill", "hello", "--from", "yesterday", "--to", "2026-01-02")
    assert (done.code, server.requests) == (2, [])
    assert done.err.startswith("--from wants")


@pytest.mark.parametrize(
    ("arguments", "request_line"),
    [
        (["pause", "a b"], "POST /api/v1/workflows/a%20b/pause"),
        (["resume", "hello"], "POST /api/v1/workflows/hello/resume"),
        (["delete", "hello"], "DELETE /api/v1/workflows/hello"),
        (["cancel", RUN_ID], f"POST /api/v1/runs/{RUN_ID}/cancel"),
        (["worker", "kill", "w/1"], "POST /api/v1/workers/w%2F1/kill"),
    ],
)
def test_changing_commands_ask_the_server(call: Call, server: Server, arguments: list[str], request_line: str) -> None:
    server.on(request_line, (202, {}))
    assert call(*arguments).code == 0
    assert server.requests[0][0] == request_line


def test_delete_is_done_also_when_there_is_nothing_left_to_delete(call: Call, server: Server) -> None:
    server.on("DELETE /api/v1/workflows/hello", (204, None))
    assert call("delete", "hello").out == "Done\n"
    server.on("DELETE /api/v1/workflows/hello", (404, {"code": "not_found", "detail": "There is no workflow hello."}))
    done = call("delete", "hello")
    assert (done.code, done.out) == (0, "There is no workflow hello: nothing to delete.\nDone\n")


def test_a_worker_table_shows_busy_and_idle(call: Call, server: Server) -> None:
    worker = {"id": "w1", "state": "available", "busy_s": 1.5, "idle_s": 2.25, "wall_s": 3.75}
    server.on("GET /api/v1/workers", (200, {"items": [worker], "next": None}))
    done = call("workers")
    assert ["w1", "available", "1.50", "2.25", "3.75"] in [line.split() for line in done.out.splitlines()]
