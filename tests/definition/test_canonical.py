from __future__ import annotations

import json
import random
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from freshet.definition import compile_workflow, digest, dump, normalise, schema

VALIDATOR = Draft202012Validator(schema())
DURATION = (
    st.sampled_from(["PT5S", "PT1H30M", "P1D", "PT0.25S", "P2W", "PT90M"]) | st.integers(1, 10**6) | st.floats(1, 1e6)
)
SCALAR = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5)
)
VALUE = st.recursive(SCALAR, lambda inner: st.lists(inner, max_size=2), max_leaves=4)

PROCESS = st.sampled_from(["p", "p@1.0.0", "some.name@2.0-rc.1"]) | st.fixed_dictionaries(
    {"name": st.just("p")}, optional={"version": st.just("1"), "isolation": st.sampled_from(["warm", "process"])}
)
BIG = st.integers(-(2**63), 2**63 - 1)
ARGUMENT = st.sampled_from(["--x", "${{ run.id }}", "day=${{ params.n + 1 }}", 3, True]) | BIG
CONTAINER = st.fixed_dictionaries(
    {"name": st.just("main"), "image": st.just("/db/s/r/i:1")},
    optional={
        "args": st.lists(ARGUMENT, max_size=2),
        "env": st.dictionaries(st.sampled_from(["A", "B"]), ARGUMENT),
        "resources": st.just({"requests": {"cpu": 0.5, "memory": "1Gi"}, "limits": {"nvidia.com/gpu": 1}}),
        "secrets": st.just([{"snowflakeSecret": {"objectName": "db.s.key"}, "directoryPath": "/keys"}]),
        "volumeMounts": st.just([{"name": "scratch", "mountPath": "/scratch"}]),
    },
)
BODY = st.fixed_dictionaries(
    {
        "containers": CONTAINER.map(lambda container: [container]),
        "volumes": st.just([{"name": "scratch", "source": "local"}]),
    }
)
TEMPLATE = "spec: {containers: [{name: {{ a }}, image: /i:1, env: {B: {{ b | default('x') }} } }]}"
FORM = st.one_of(
    st.fixed_dictionaries({"spec": BODY | BODY.map(lambda body: {"spec": body}) | BODY.map(json.dumps)}),
    st.just({"spec_file": "@db.s.stage/jobs/spec.yaml"}),
    st.fixed_dictionaries(
        {"spec_template": st.just(TEMPLATE)},
        optional={"using": st.dictionaries(st.just("b"), ARGUMENT)},
    ).map(lambda form: {**form, "using": {"a": "main", **form.get("using", {})}}),
    st.fixed_dictionaries(
        {"spec_template_file": st.just('@"My Stage"/spec.yaml')},
        optional={"using": st.dictionaries(st.sampled_from(["a", "b"]), ARGUMENT)},
    ),
    st.fixed_dictionaries(
        {"image": st.just("/db/s/r/i:1")},
        optional={
            "args": st.lists(ARGUMENT, max_size=3),
            "command": st.lists(st.just("run"), max_size=2),
            "env": st.dictionaries(st.sampled_from(["A", "B"]), ARGUMENT),
            "secrets": st.just([{"snowflakeSecret": "key", "envVarName": "KEY", "secretKeyRef": "secret_string"}]),
            "resources": st.just({"requests": {"cpu": "500m"}, "limits": {"memory": "2G"}}),
            "volumes": st.just([{"name": "v", "source": "memory", "size": "1Gi"}]),
        },
    ),
)
JOB = st.builds(
    lambda form, rest: {**form, **rest},
    FORM,
    st.fixed_dictionaries(
        {"compute_pool": st.sampled_from(["P", '"p q"', '"p ""q"""'])},
        optional={
            "query_warehouse": st.just("WH"),
            "start_timeout": DURATION,
            "replicas": st.integers(1, 9),
            "external_access_integrations": st.just(["A", '"b c"']),
            "comment": st.just("by ${{ run.id }}"),
            "result_table": st.just("db.s.results_${{ params.n }}"),
        },
    ),
)
KIND = st.one_of(
    st.fixed_dictionaries({"process": PROCESS}),
    st.fixed_dictionaries({"job_service": JOB}),
    st.fixed_dictionaries({"sql": st.just({"text": "select :payload"})}),
    st.fixed_dictionaries({"python": st.just({"text": "print(1)\n"})}),
)
RETRIES = st.integers(0, 9) | st.fixed_dictionaries(
    {}, optional={"limit": st.integers(0, 9), "delay": DURATION, "factor": st.floats(1, 9), "jitter": st.floats(0, 1)}
)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "for_each": st.integers(0, 9) | st.lists(VALUE, max_size=2) | st.just("params.n"),
        "input": st.just("run.id") | st.dictionaries(st.just("k"), VALUE, min_size=1),
        "run_if": st.sampled_from(["all_succeeded", "all_done"]),
        "on_failure": st.sampled_from(["block", "continue"]),
        "retries": RETRIES,
        "timeout": DURATION,
        "queue": st.just("gpu"),
    },
)
SCHEDULE = st.fixed_dictionaries({"every": st.sampled_from(["PT59M", 1, 1.5])}) | st.fixed_dictionaries(
    {"cron": st.sampled_from(["@hourly", "0  2 * * *", "*/5 * * * MON-FRI"])},
    optional={"timezone": st.just("Europe/Berlin"), "catch_up": st.sampled_from(["none", "all"])},
)


@st.composite
def scopes(draw: st.DrawFn, depth: int = 1) -> dict[str, Any]:
    """Tasks, each after some of those before it."""
    found: dict[str, Any] = {}
    for index in range(draw(st.integers(1, 4))):
        after = draw(st.lists(st.sampled_from(list(found)), unique=True)) if found else []
        if depth and draw(st.integers(0, 4)) == 0:
            found[f"t{index}"] = {"after": after, "for_each": 2, "tasks": draw(scopes(depth=depth - 1))}
        else:
            found[f"t{index}"] = {"after": after, **draw(KIND), **draw(OPTIONS)}
    return found


@st.composite
def workflows(draw: st.DrawFn) -> dict[str, Any]:
    params = {"n": {"type": "integer", "default": draw(st.integers(-5, 5))}, "o": {"type": "object", "default": None}}
    optional = {
        "schedule": draw(st.none() | SCHEDULE),
        "priority": draw(st.none() | st.integers(0, 200)),
        "triggers": draw(st.none() | st.just([{"event": "e", "when": "event.x == 1", "params": {"n": 3}}])),
        "finally": draw(st.none() | st.fixed_dictionaries({"end": KIND})),
    }
    given = {key: value for key, value in optional.items() if value is not None}
    return {"name": "w", "params": params, "tasks": draw(scopes()), **given}


@settings(max_examples=200, deadline=None)
@given(workflows())
def test_the_canonical_document_compiles_to_the_same_workflow(data: dict[str, Any]) -> None:
    made = compile_workflow(data)
    document = dump(made)
    assert compile_workflow(document) == made
    assert normalise(document) == document


@settings(max_examples=100, deadline=None)
@given(workflows(), st.randoms(use_true_random=False))
def test_the_digest_depends_on_the_meaning_and_not_on_the_order_of_keys(
    data: dict[str, Any], chance: random.Random
) -> None:
    document = normalise(data)
    assert digest(shuffled(document, chance)) == digest(document)
    assert digest({**document, "name": "other"}) != digest(document)


@settings(max_examples=100, deadline=None)
@given(workflows())
def test_the_canonical_document_is_json_and_obeys_the_schema(data: dict[str, Any]) -> None:
    document = normalise(data)
    assert orjson.loads(orjson.dumps(document)) == document
    VALIDATOR.validate(data)
    VALIDATOR.validate(document)


def shuffled(value: Any, chance: random.Random) -> Any:
    if isinstance(value, dict):
        keys = list(value)
        chance.shuffle(keys)
        return {key: shuffled(value[key], chance) for key in keys}
    return value
