"""The described api, asked at random: every answer is described, none is a 500."""

import os

import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance

from api.conftest import TOKEN, Served, workflow
from freshet.bus import Bus
from freshet.storage.database import Database
from freshet.telemetry import Telemetry
from freshet_api.app import create_app
from freshet_api.door import Door

SEARCHED = [not_a_server_error, content_type_conformance, response_schema_conformance]


def _description() -> schemathesis.BaseSchema:
    """Of an app that never connects."""
    nowhere = Door(
        database=Database("postgresql://nowhere", name="none"),
        bus=Bus("redis://nowhere"),
        telemetry=Telemetry("api", environ={}),
    )
    described = schemathesis.openapi.from_dict(create_app(nowhere).openapi())
    # A live stream does not end, so nobody can wait for the end of its answer.
    return described.exclude(path_regex="/events$", method="GET")


schema = _description()


@schema.parametrize()
@settings(
    max_examples=int(os.environ.get("FRESHET_TEST_EXAMPLES", "12")),
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_nothing_that_is_sent_is_a_server_error(case: schemathesis.Case, api: Served) -> None:
    if not api.execute("select from engine.workflow limit 1"):
        api.apply(workflow(schedule={"every": "PT1H"}, triggers=[{"event": "a"}]))
        api.end(api.start("pipeline"), assign="succeeded")
    case.call_and_validate(base_url=api.url, headers={"Authorization": f"Bearer {TOKEN}"}, checks=SEARCHED)
