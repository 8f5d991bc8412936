"""Job services in workflow files: every way in which SPCS can be told, and what is refused of them at apply."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from freshet.definition import (
    compile_document,
    compile_workflow,
    dump,
    errors_of,
    load_text,
    normalise,
    schema,
    workflow,
)
from freshet.domain.errors import DefinitionError
from freshet.domain.model import JobServiceSpec

HEAD = "name: w\ntasks:\n  a:\n    job_service:\n      compute_pool: P\n"
AT = "/tasks/a/job_service"
CONTAINER = {"name": "main", "image": "/a:1"}

#: What stands below HEAD, from line 6 on; then code, pointer (below AT), line and a part of the sentence.
BROKEN: list[tuple[str, str, str, int, str]] = [
    ("      replicas: 2\n", "one_of", "", 4, "needs one of `image`, `spec`, `spec_file`"),
    ("      image: /a:1\n      spec_file: '@s/x'\n", "one_of", "", 4, "not `image` and `spec_file`"),
    (
        "      spec: {containers: [{name: Main, image: /a:1}]}\n",
        "bad_name", "/spec/containers/0/name", 6, "a DNS label",
    ),
    (
        "      spec: {spec: {containers: [{name: a-, image: /a:1}]}}\n",
        "bad_name", "/spec/spec/containers/0/name", 6, "not 'a-'",
    ),
    (
        "      spec:\n        containers:\n          - name: main\n            image: /a:1\n            comand: [x]\n",
        "unknown_key", "/spec/containers/0/comand", 10, "did you mean 'command'?",
    ),
    ("      spec: {spec: {containers: []}}\n", "empty", "/spec/spec/containers", 6, "must not be empty"),
    (
        "      spec: {spec: {containers: [{name: m, image: /a:1}]}, volumes: []}\n",
        "wrong_key", "/spec", 6, "has `volumes` beside `spec`",
    ),
    (
        "      spec: {containers: [{name: m, image: /a:1}, {name: m, image: /b:1}]}\n",
        "duplicate_name", "/spec", 6, "two containers of the name 'm'",
    ),
    (
        "      spec: {containers: [{name: m, image: /a:1, volumeMounts: [{name: v, mountPath: /v}]}]}\n",
        "unknown_volume", "/spec", 6, "no volume 'v', which container 'm' mounts; there are none",
    ),
    ("      image: /a:1\n      volumeMounts: [{name: v, mountPath: /v}]\n", "unknown_volume", "", 4, "no volume 'v'"),
    ("      image: /a:1\n      volumes: [{name: v, source: memory}]\n", "missing_key", "/volumes/0", 7, "'size'"),
    (
        "      image: /a:1\n      volumes: [{name: v, source: memory, size: 10}]\n",
        "bad_size", "/volumes/0/size", 7, "a size with the unit Gi",
    ),
    (
        "      image: /a:1\n      volumes: [{name: v, source: disk}]\n",
        "unknown_value", "/volumes/0/source", 7, "must be local, memory, block, stage",
    ),
    (
        "      image: /a:1\n      resources: {requests: {memory: 512}}\n",
        "bad_size", "/resources/requests/memory", 7, "with its unit M, Mi, G or Gi, like 512Mi, not '512'",
    ),
    (
        "      image: /a:1\n      resources: {limits: {cpu: many}}\n",
        "bad_size", "/resources/limits/cpu", 7, "a number of CPUs, like 0.5 or 500m",
    ),
    ("      image: /a:1\n      resources: {limits: {cpu: 0}}\n", "bad_size", "/resources/limits", 7, "asks for no cpu"),
    (
        "      image: /a:1\n      resources: {requests: {cpu: 2}, limits: {cpu: 500m}}\n",
        "bad_resources", "/resources", 7, "requests more cpu (2) than its limit (500m)",
    ),
    (
        "      image: /a:1\n      resources: {requests: {memory: 2G}, limits: {memory: 1Gi}}\n",
        "bad_resources", "/resources", 7, "requests more memory (2G) than its limit (1Gi)",
    ),
    (
        "      image: /a:1\n      resources: {requests: {nvidia.com/gpu: 2}, limits: {nvidia.com/gpu: 1}}\n",
        "bad_resources", "/resources", 7, "as many nvidia.com/gpu as its limit",
    ),
    (
        "      image: /a:1\n      secrets: [{snowflakeSecret: s, envVarName: A}]\n",
        "missing_key", "/secrets/0", 7, "'secretKeyRef'",
    ),
    ("      image: /a:1\n      secrets: [{snowflakeSecret: s}]\n", "one_of", "/secrets/0", 7, "`envVarName` or"),
    (
        "      image: /a:1\n      secrets: [{snowflakeSecret: 'a b', directoryPath: /s}]\n",
        "bad_name", "/secrets/0/snowflakeSecret", 7, "the name of a Snowflake object",
    ),
    (
        ("      image: a\n      env: {A: 1}\n      secrets:\n"
         "        - {snowflakeSecret: s, secretKeyRef: username, envVarName: A}\n"),
        "duplicate_variable", "", 4, "sets the variable 'A' twice",
    ),
    ("      image: /a:1\n      replicas: 0\n", "out_of_range", "/replicas", 7, "must be at least 1"),
    (
        "      image: /a:1\n      external_access_integrations: [a b]\n",
        "bad_name", "/external_access_integrations/0", 7, "a Snowflake identifier",
    ),
    (
        "      spec: |\n        spec:\n          containers:\n            - {name: Main, image: /a:1}\n",
        "bad_name", "/spec", 6, "spec.spec.containers.0.name must be a DNS label",
    ),
    ("      spec: |\n        spec:\n          containers: [\n", "bad_yaml", "/spec", 6, "is refused on its line 3"),
    ("      spec_file: stage/x.yaml\n", "bad_stage", "/spec_file", 6, "a file in a stage, like @db.schema.stage/path"),
    ("      spec_file: '@s/x.yaml'\n      args: [a]\n", "wrong_key", "", 4, "takes no `args` beside `spec_file`"),
    ("      spec_file: '@s/x.yaml'\n      using: {a: 1}\n", "wrong_key", "", 4, "only a template has variables"),
    (
        "      spec_template: 'spec: {{ image }}'\n",
        "unknown_variable", "", 4, "reads the variable 'image', which `using` does not set",
    ),
    (
        "      spec_template: 'spec: {{ a }}'\n      using: {a: '${{ run.id }}', b: 1}\n",
        "unknown_variable", "", 4, "sets 'b' in `using`, which is read nowhere in the template; it reads a",
    ),
    ("      spec_template: 'spec: ${{ run.id }}'\n", "template_in_script", "/spec_template", 6, "set it in `using`"),
    (
        "      spec_template: 'spec: {containers: [{name: {{ n }}, image: /a:1}]}'\n      using: {n: Main}\n",
        "bad_name", "", 4, "`spec_template` that is refused: spec.containers.0.name must be a DNS label",
    ),
    (
        "      spec: {containers: [{name: m, image: /a:1, args: ['${{ parms.x }}']}]}\n",
        "unknown_variable", "/spec/containers/0/args/0", 6, "reads 'parms'",
    ),
    (
        "      spec: {spec: {containers: [{name: m, image: /a:1, env: {A: '${{ tasks.b.result }}'}}]}}\n",
        "unknown_reference", "/spec/spec/containers/0/env/A", 6, "reads tasks.b",
    ),
    (
        "      spec_template_file: '@s/x.yaml'\n      using: {a: '${{ params.x }}'}\n",
        "unknown_param", "/using/a", 7, "params.x, which is not declared",
    ),
    ("      image: /a:1\n      result_table: '${{ parms.t }}'\n", "unknown_variable", "/result_table", 7, "'parms'"),
    ("      image: /a:1\n      result_table: a b\n", "bad_name", "/result_table", 7, "is not the name of a Snowflake"),
    (
        "      spec_template_file: '@s/x.yaml'\n      using: {FRESHET_TASK: x}\n",
        "reserved_name", "/using", 7, "must not set 'FRESHET_TASK'",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("text", "code", "pointer", "line", "sentence"), BROKEN)
def test_what_spcs_would_refuse_is_refused_at_apply(
    text: str, code: str, pointer: str, line: int, sentence: str
) -> None:
    (document,) = load_text(HEAD + text, "w.yaml")
    with pytest.raises(DefinitionError) as caught:
        compile_document(document)
    first = errors_of(caught.value)[0]
    assert (first.code, first.pointer, first.line) == (code, AT + pointer, line)
    assert sentence in first.message


VOLUME = {"name": "v", "source": "local"}
TEMPLATE = "spec: {containers: [{name: m, image: {{ i }}, env: {P: {{ FRESHET_PAYLOAD }} } }]}"
FORMS: list[dict[str, Any]] = [
    {"image": "/a:1", "secrets": [{"snowflakeSecret": "db.s.key", "envVarName": "K", "secretKeyRef": "secret_string"}]},
    {"image": "/a:1", "resources": {"requests": {"cpu": 0.5, "memory": "1Gi"}, "limits": {"nvidia.com/gpu": "1"}}},
    {"image": "/a:1", "volumes": [VOLUME], "volumeMounts": [{"name": "v", "mountPath": "/v"}]},
    {"image": "/a:1", "replicas": 3, "comment": "c", "external_access_integrations": ["E"], "query_warehouse": "W"},
    {"spec": {"containers": [CONTAINER]}},
    {"spec": {"spec": {"containers": [CONTAINER]}, "serviceRoles": [{"name": "r"}], "capabilities": {"a": {}}}},
    {"spec": "spec:\n  containers:\n    - name: main\n      image: /a:1\n"},
    {"spec_file": "@db.s.stage/path/spec.yaml"},
    {"spec_file": '@"My Stage"/path/spec.yaml'},
    {"spec_template": TEMPLATE, "using": {"i": "/a:1"}},
    {"spec_template_file": "@stage/t.yaml", "using": {"n": 8080, "l": ["a", 1]}},
    {"spec_template_file": "@stage/t.yaml"},
]  # fmt: skip


@pytest.mark.parametrize("form", FORMS, ids="-".join)
def test_every_form_compiles_is_canonical_and_obeys_the_schema(form: dict[str, Any]) -> None:
    data = {"name": "w", "tasks": {"a": {"job_service": {"compute_pool": "P", **form}}}}
    canonical = normalise(data)
    assert normalise(canonical) == canonical
    assert compile_workflow(canonical) == compile_workflow(data)
    validator = Draft202012Validator(schema())
    validator.validate(data)
    validator.validate(canonical)


def test_yaml_text_means_what_the_mapping_means() -> None:
    text = {"compute_pool": "P", "spec": "spec:\n  containers:\n    - {name: main, image: /a:1, env: {A: 1}}\n"}
    mapping = {"compute_pool": "P", "spec": {"spec": {"containers": [{**CONTAINER, "env": {"A": "1"}}]}}}
    made = [normalise({"name": "w", "tasks": {"a": {"job_service": job}}}) for job in (text, mapping)]
    assert made[0] == made[1]


@pytest.mark.parametrize("form", FORMS, ids="-".join)
def test_the_builder_takes_the_same_words(form: dict[str, Any]) -> None:
    given = {"volume_mounts" if key == "volumeMounts" else key: value for key, value in form.items()}
    built = workflow("w")
    built.job_service("a", compute_pool="P", timeout="PT1H", **given)
    data = {"name": "w", "tasks": {"a": {"job_service": {"compute_pool": "P", **form}, "timeout": "PT1H"}}}
    assert built.document() == normalise(data)


def test_a_definition_stored_by_an_earlier_release_still_loads() -> None:
    stored = {
        "image": "/db/schema/repo/train:1",
        "compute_pool": '"My Pool"',
        "args": ["--day=${{ run.scheduled_for }}"],
        "command": ["run"],
        "env": {"A.B/C": "1"},
        "query_warehouse": "WH",
        "start_timeout": "PT10M",
    }
    made = compile_workflow({"name": "w", "tasks": {"a": {"job_service": stored}}})
    assert made.task("a").job_service == JobServiceSpec(
        image="/db/schema/repo/train:1",
        compute_pool='"My Pool"',
        args=("--day=${{ run.scheduled_for }}",),
        command=("run",),
        env={"A.B/C": "1"},
        query_warehouse="WH",
        start_timeout=600.0,
    )
    assert dump(made)["tasks"]["a"]["job_service"] == stored
