"""A payload that does not fit into a container's environment is fetched from the api."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from tests.api.conftest import Served, api, door
from tests.worker.conftest import Serve
from tests.worker.jobs.conftest import Told
from tests.worker.rows import Rows

from freshet.execution.job_specification import FETCHED_LIMIT, PAYLOAD_LIMIT
from freshet.execution.supervisor import Supervisor
from freshet.runtime.settings import WorkerSettings
from freshet.storage.payloads import PART
from freshet.storage.retention import Retention

__all__ = ["api", "door"]

FETCH = (
    "import json, os, urllib.request as r; e = os.environ; url = e.get('FRESHET_PAYLOAD_URL');"
    " payload = json.load(r.urlopen(url)) if url else json.loads(e['FRESHET_PAYLOAD']);"
    " print(json.dumps([bool(url), 'FRESHET_PAYLOAD' in e, len(payload['p']), payload['p'][-1]]))"
)
TEMPLATE = (
    "spec:\n  containers:\n    - name: main\n      image: /a:1\n      command: {{ command }}\n      env:\n"
    "        FRESHET_PAYLOAD: {{ FRESHET_PAYLOAD }}\n        FRESHET_PAYLOAD_URL: {{ FRESHET_PAYLOAD_URL }}\n"
)
FRAME = len('{"p":""}')


@pytest.fixture
def settings(settings: WorkerSettings, request: pytest.FixtureRequest) -> WorkerSettings:
    """Without an address for tests that have no api."""
    if "api" not in request.fixturenames:
        return settings
    served: Served = request.getfixturevalue("api")
    return settings.model_copy(update={"public_url": f"{served.url}/"})


def text_of(size: int) -> str:
    """A text with which the payload has so many bytes; its last character is no ASCII, and has two."""
    return "x" * (size - FRAME - 2) + "é"


@pytest.mark.parametrize(("size", "fetched"), [(PAYLOAD_LIMIT, False), (PAYLOAD_LIMIT + 1, True), (500_000, True)])
def test_a_container_reads_the_same_payload_whatever_its_size(
    api: Served, told: Told, serve: Serve, watch_until: Any, size: int, fetched: bool
) -> None:
    text = text_of(size)
    bundle = told(image="/a:1", command=["python3", "-c", FETCH], params={"p": text})
    assert serve(bundle) == []
    (outcome,) = watch_until(bundle)
    assert outcome["r"] == [fetched, not fetched, len(text), "é"]


@pytest.mark.parametrize("size", [100, PAYLOAD_LIMIT + 1])
def test_a_template_has_both_variables_and_one_of_them_is_empty(
    api: Served, told: Told, serve: Serve, watch_until: Any, size: int
) -> None:
    command = ["python3", "-c", FETCH]
    bundle = told(spec_template=TEMPLATE, using={"command": command}, params={"p": text_of(size)})
    assert serve(bundle) == []
    (outcome,) = watch_until(bundle)
    assert outcome["r"] == [size > PAYLOAD_LIMIT, True, len(text_of(size)), "é"]


def test_without_an_address_of_the_api_the_item_says_which_setting_is_missing(
    told: Told, serve: Serve, watch_until: Any
) -> None:
    (outcome,) = serve(told(image="/a:1", params={"p": text_of(PAYLOAD_LIMIT + 1)}))
    assert (outcome["s"], outcome["e"]["class"]) == ("failed", "user")
    assert outcome["e"]["message"] == (
        "The payload of task t can't be handed to its container: it has 32,769 bytes as JSON, 32,768 fit into a"
        " container's environment, and FRESHET_PUBLIC_URL, from which it could fetch more, is not set. Pass a key, and"
        " let the container read the rest."
    )


def test_what_is_too_large_to_be_fetched_fails_the_item(api: Served, told: Told, serve: Serve, worker: Any) -> None:
    (outcome,) = serve(told(image="/a:1", params={"p": text_of(FETCHED_LIMIT + 1)}))
    assert outcome["s"] == "failed"
    assert "it has 16,777,217 bytes as JSON, and the limit is 16,777,216" in outcome["e"]["message"]


def test_a_template_that_reads_the_payload_alone_is_refused_one_that_is_not_there(
    api: Served, told: Told, serve: Serve, watch_until: Any
) -> None:
    template = "spec: {containers: [{name: main, image: /a:1, env: {P: {{ FRESHET_PAYLOAD }} }}]}"
    (outcome,) = serve(told(spec_template=template, params={"p": text_of(PAYLOAD_LIMIT + 1)}))
    assert outcome["s"] == "failed"
    assert "`spec_template` does not read FRESHET_PAYLOAD_URL, the address of more" in outcome["e"]["message"]


def test_a_payload_is_read_by_its_key_alone_and_as_long_as_its_attempt_goes_on(
    api: Served, told: Told, serve: Serve, rows: Rows, worker: Supervisor, database: str
) -> None:
    """Whoever holds the bundle, or nobody: a container may run while the attempt is handed back."""
    retention = Retention(worker.store._database)
    serve(told(image="/a:1", command=["sleep", "60"], params={"p": text_of(3 * PART)}))
    url = f"{api.url}/api/v1/payloads/{rows.one('select key from engine.job_payload')}"
    rows.sql("delete from engine.bundle")
    assert retention.prune_payloads(limit=10) == 0
    answer = httpx.get(url)
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    assert int(answer.headers["content-length"]) == 3 * PART
    assert answer.json() == {"p": text_of(3 * PART)}
    rows.sql("update engine.work_item set attempt = 2")
    assert httpx.get(url).status_code == 404
    assert [retention.prune_payloads(limit=10) for _ in range(2)] == [1, 0]
