"""Every way in which SPCS can be told what a job runs, from the workflow file to what the container finds."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from snowflake import connector
from tests.emulator.server import EmulatorProcess, ended, fresh
from tests.worker.conftest import Serve
from tests.worker.jobs.conftest import Told
from tests.worker.rows import Rows
from tests.worker.test_job_service import name_of

from freshet.snowflake import JobServices, Specification, json_for_yaml, template_value

CONTEXT = '{"payload": %s, "run": "%s", "workflow": "%s", "task": "%s", "item": "%s", "attempt": "%s"}'
SHOW_CONTEXT = (
    "import json, os; print(json.dumps({name: os.environ.get('FRESHET_' + name) for name in"
    " ('PAYLOAD', 'RUN_ID', 'WORKFLOW', 'TASK', 'ITEM', 'ATTEMPT')}))"
)
SHOW = ["python3", "-c", SHOW_CONTEXT]


def container(*command: str, name: str = "main", **more: Any) -> dict[str, Any]:
    return {"name": name, "image": "/db/s/repo/shell:1", "command": list(command), **more}


def result_of(bundle: int, serve: Serve, watch_until: Any) -> Any:
    assert serve(bundle) == []
    (outcome,) = watch_until(bundle)
    assert outcome["s"] == "succeeded", outcome
    return outcome["r"]


def check_context(found: dict[str, Any], rows: Rows) -> None:
    run = rows.one("select id from engine.run")
    workflow = rows.one("select name from engine.workflow")
    assert found == {
        "PAYLOAD": '{"p":1}',
        "RUN_ID": str(run),
        "WORKFLOW": workflow,
        "TASK": "t",
        "ITEM": "",
        "ATTEMPT": "1",
    }


def test_every_container_of_an_inline_specification_gets_the_context(
    told: Told, serve: Serve, watch_until: Any, rows: Rows
) -> None:
    spec = {"containers": [container(*SHOW), container("true", name="second", env={"A": "1"})]}
    bundle = told(spec=spec)
    check_context(result_of(bundle, serve, watch_until), rows)


def test_the_first_containers_log_has_the_result_whatever_it_is_called(
    told: Told, serve: Serve, watch_until: Any, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    spec = {"containers": [container("echo", "1", name="first"), container("echo", "2", name="another")]}
    assert result_of(told(spec=spec), serve, watch_until) == 1
    file = staged(emulator, tmp_path, json.dumps({"spec": spec}))
    assert result_of(told(spec_file=file), serve, watch_until) == 1


def test_a_specification_as_yaml_text_gets_it_too(told: Told, serve: Serve, watch_until: Any, rows: Rows) -> None:
    text = f"spec:\n  containers:\n    - name: main\n      image: /a:1\n      command: {json.dumps(SHOW)}\n"
    check_context(result_of(told(spec=text), serve, watch_until), rows)


def test_expressions_are_rendered_in_an_inline_specification(told: Told, serve: Serve, watch_until: Any) -> None:
    script = 'echo "[\\"$A\\", \\"$1\\"]"'
    spec = {
        "spec": {
            "containers": [
                container(
                    "sh", "-c", script, args=["name", "--p=${{ params.p + 1 }}"], env={"A": "it is ${{ run.trigger }}"}
                )
            ]
        }
    }
    assert result_of(told(spec=spec), serve, watch_until) == ["it is call", "--p=2"]


def test_a_template_is_filled_with_values_and_context(told: Told, serve: Serve, watch_until: Any, rows: Rows) -> None:
    template = (
        "spec:\n  containers:\n    - name: {{ name }}\n      image: {{ image }}\n"
        "      command: {{ command }}\n      env:\n"
        + "".join(f"        FRESHET_{key}: {{{{ FRESHET_{key} }}}}\n" for key in ("PAYLOAD", "RUN_ID", "WORKFLOW"))
        + "".join(f"        FRESHET_{key}: {{{{ FRESHET_{key} }}}}\n" for key in ("TASK", "ITEM", "ATTEMPT"))
    )
    using = {"name": "main", "image": "/db/s/repo/x-${{ params.p }}:1.0", "command": SHOW}
    check_context(result_of(told(spec_template=template, using=using), serve, watch_until), rows)


def staged(emulator: EmulatorProcess, tmp_path: Path, text: str) -> str:
    """A specification in a stage; the stage's name has to be quoted."""
    stage = fresh("stage of ")
    (tmp_path / "spec.yaml").write_text(text)
    arguments = emulator.settings().connect_arguments(connector.__version__)
    with closing(connector.connect(**arguments)) as connection:
        connection.cursor().execute(f'CREATE STAGE "{stage}"')
        connection.cursor().execute(f"PUT 'file://{tmp_path}/spec.yaml' '@\"{stage}\"/jobs' AUTO_COMPRESS = FALSE")
    return f'@"{stage}"/jobs/spec.yaml'


def test_a_file_of_a_stage_is_run_as_it_is(
    told: Told, serve: Serve, watch_until: Any, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    text = 'spec: {containers: [{name: main, image: /a:1, command: [sh, -c, "echo 7"]}]}'
    assert result_of(told(spec_file=staged(emulator, tmp_path, text)), serve, watch_until) == 7


def test_a_template_of_a_stage_gets_values_and_context(
    told: Told, serve: Serve, watch_until: Any, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    text = (
        "spec:\n  containers:\n    - name: main\n      image: /a:1\n"
        "      command: [sh, -c, 'echo $P; echo {{ number }}']\n      env:\n        P: {{ FRESHET_PAYLOAD }}\n"
    )
    bundle = told(spec_template_file=staged(emulator, tmp_path, text), using={"number": "${{ params.p + 4 }}"})
    assert result_of(bundle, serve, watch_until) == 5


def test_a_secret_is_named_and_never_written_down(
    told: Told, serve: Serve, watch_until: Any, services: JobServices, rows: Rows, pool: str
) -> None:
    secret = fresh("SECRET")
    services.execute(f"CREATE SECRET {secret} TYPE = GENERIC_STRING SECRET_STRING = 'hunter2'")
    bundle = told(
        image="/a:1",
        command=["sh", "-c", "[ ${#KEY} = 7 ] && echo 1"],
        secrets=[{"snowflakeSecret": secret, "envVarName": "KEY", "secretKeyRef": "secret_string"}],
    )
    assert serve(bundle) == []
    (row,) = services.execute(f"DESCRIBE SERVICE {name_of(rows, bundle)}")
    assert "hunter2" not in str(row)
    assert watch_until(bundle)[0]["r"] == 1


def test_the_rest_of_the_statement_reaches_snowflake(
    told: Told, serve: Serve, services: JobServices, rows: Rows, watcher: Any
) -> None:
    bundle = told(
        image="/a:1",
        command=["true"],
        replicas=2,
        query_warehouse="COMPUTE_WH",
        external_access_integrations=["E1", '"e ""2"""'],
        comment="for ${{ run.trigger }}: it's $$ \\ 🌊",
        resources={"requests": {"cpu": "500m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}},
        volumes=[{"name": "scratch", "source": "memory", "size": "1Gi"}],
        volumeMounts=[{"name": "scratch", "mountPath": "/scratch"}],
    )
    assert serve(bundle) == []
    (row,) = services.execute(f"DESCRIBE SERVICE {name_of(rows, bundle)}")
    assert row["target_instances"] == 2
    assert row["query_warehouse"] == "COMPUTE_WH"
    assert json.loads(row["external_access_integrations"]) == ["E1", 'e "2"']
    assert row["comment"].splitlines() == [f"{rows.one('select id from engine.run')}/t//1", "for call: it's $$ \\ 🌊"]
    body = json.loads(row["spec"])["spec"]
    assert body["volumes"] == [{"name": "scratch", "source": "memory", "size": "1Gi"}]
    assert body["containers"][0]["volumeMounts"] == [{"name": "scratch", "mountPath": "/scratch"}]
    assert body["containers"][0]["resources"]["limits"] == {"memory": "1Gi"}


def test_a_pool_with_a_quoted_name_is_found(told: Told, serve: Serve, watch_until: Any, services: JobServices) -> None:
    name = fresh('my "own" pool ').replace('"', '""')
    services.execute(f'CREATE COMPUTE POOL "{name}" MIN_NODES = 1 MAX_NODES = 1 INSTANCE_FAMILY = CPU_X64_XS')
    bundle = told(compute_pool=f'"{name}"', image="/a:1", command=["sh", "-c", "echo 3"])
    assert result_of(bundle, serve, watch_until) == 3
    pool = services.pool(f'"{name}"')
    assert pool is not None
    assert (pool.name, pool.family) == (name.replace('""', '"'), "CPU_X64_XS")


def test_a_text_that_no_container_can_be_given_fails_the_item(told: Told, serve: Serve, watcher: Any) -> None:
    (outcome,) = serve(told(image="/a:1", args=["${{ 'a' + '\\u0000' }}"]))
    assert (outcome["s"], outcome["e"]["class"]) == ("failed", "user")
    assert outcome["e"]["message"] == "A text of task t holds a NUL character, which no container can be given."


#: What breaks statements that are spliced: quotes, backslashes, dollars, line ends, template marks, emoji.
NASTY = st.text(
    st.sampled_from(list("'\"\\$`;-/*%_?:{}[]() \n\r\tab0é🌊\u2028\x1b")) | st.characters(exclude_categories=["Cs"]),
    max_size=40,
).filter(lambda text: "\0" not in text)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(NASTY, min_size=1, max_size=4), comment=NASTY)
def test_whatever_a_text_holds_comes_back_from_the_container(
    services: JobServices, pool: str, texts: list[str], comment: str
) -> None:
    name = fresh("J")
    program = "import json, os, sys; print(json.dumps([sys.argv[1:], os.environ['TEXT'], '$$ \\0 \\\\ end']))"
    spec = {"containers": [container("python3", "-c", program, *texts, env={"TEXT": texts[0]})]}
    services.submit(name, pool, json.dumps({"spec": spec}, ensure_ascii=False), comment)
    try:
        assert ended(services, name).comment == comment
        argv, env, literal = json.loads(services.logs(name))
        assert (argv, env, literal) == (texts, texts[0], "$$ \0 \\ end")
    finally:
        services.drop(name)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=NASTY)
def test_whatever_a_template_value_holds_comes_back_from_the_container(
    services: JobServices, pool: str, text: str
) -> None:
    name = fresh("J")
    program = "import json, os; print(json.dumps(os.environ[chr(84)]))"
    head = f'spec: {{containers: [{{name: main, image: /a:1, command: [python3, -c, "{program}"], env: '
    template = head + "{T: {{ t }} }}]}"
    services.submit(name, pool, Specification(text=template, using={"t": json_for_yaml(text)}), "c")
    try:
        ended(services, name)
        assert json.loads(services.logs(name)) == text
    finally:
        services.drop(name)


@given(NASTY)
def test_a_template_value_is_alphanumeric_or_json(text: str) -> None:
    value = template_value(text)
    assert value == text or json.loads(value) == text
    assert value.isalnum() or value == text or value.startswith('"')
