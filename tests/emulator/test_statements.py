"""Statements and their answers: pools, catalog, services, tables."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from tests.emulator.server import EmulatorProcess, ended, fresh, shell, status, until

from freshet.snowflake import JobServices, JobStatus, SnowflakeRefusedError

SERVICE_COLUMNS = (
    "name status database_name schema_name owner compute_pool spec dns_name current_instances target_instances "
    "min_ready_instances min_instances max_instances auto_resume external_access_integrations created_on updated_on "
    "resumed_on suspended_on auto_suspend_secs comment owner_role_type query_warehouse is_job is_async_job spec_digest "
    "is_upgrading managing_object_domain managing_object_name"
)
POOL_COLUMNS = (
    "name state min_nodes max_nodes instance_family num_services num_jobs auto_suspend_secs auto_resume active_nodes "
    "idle_nodes target_nodes created_on resumed_on updated_on owner comment is_exclusive application placement_group "
    "backup_instance_families"
)
CONTAINER_COLUMNS = (
    "database_name schema_name service_name service_status instance_id instance_status container_name status message "
    "image_name image_digest restart_count start_time last_exit_code last_restart_time"
)
INSTANCE_COLUMNS = (
    "database_name schema_name service_name service_status instance_id status spec_digest creation_time start_time "
    "ip_address"
)


@pytest.fixture
def done(services: JobServices, pool: str) -> str:
    """A job that has ended."""
    name = fresh()
    services.submit(name, pool, shell("echo line"), "mine")
    ended(services, name)
    return name


def test_columns_are_those_of_the_real_statements(services: JobServices, pool: str, done: str) -> None:
    def columns(sql: str) -> str:
        return " ".join(services.execute(sql)[0])

    without_spec = SERVICE_COLUMNS.replace(" spec ", " ")
    assert columns(f"DESC SERVICE {done}") == SERVICE_COLUMNS
    assert columns(f"SHOW SERVICES LIKE '{done}'") == without_spec
    assert columns(f"SHOW JOB SERVICES LIKE '{done}'") == without_spec.replace(" is_job ", " ")
    assert columns(f"SHOW SERVICE CONTAINERS IN SERVICE {done}") == CONTAINER_COLUMNS
    assert columns(f"SHOW SERVICE INSTANCES IN SERVICE {done}") == INSTANCE_COLUMNS
    assert columns(f"SHOW COMPUTE POOLS LIKE '{pool}'") == columns(f"DESC COMPUTE POOL {pool}") == POOL_COLUMNS


@pytest.mark.parametrize("scope", ["", "IN ACCOUNT", "IN DATABASE freshet", "IN SCHEMA freshet.public", "IN SCHEMA"])
def test_jobs_are_found_in_every_scope_they_are_in(services: JobServices, done: str, scope: str) -> None:
    found = services.execute(f"SHOW JOB SERVICES LIKE '{done.lower()}' {scope} LIMIT 5")
    assert [row["name"] for row in found] == [done]


def test_jobs_are_not_found_in_other_scopes(services: JobServices, done: str) -> None:
    services.execute("CREATE DATABASE IF NOT EXISTS elsewhere")
    assert services.execute(f"SHOW JOB SERVICES LIKE '{done}' IN DATABASE elsewhere") == []
    assert services.execute(f"SHOW SERVICES EXCLUDE JOBS LIKE '{done}' IN ACCOUNT") == []
    assert services.execute(f"SHOW JOB SERVICES LIKE '{done}' IN COMPUTE POOL PR_STD_POOL_XS") == []
    assert services.execute(f"SHOW JOB SERVICES STARTS WITH '{done.lower()}' IN SCHEMA freshet.public") == []
    with pytest.raises(SnowflakeRefusedError, match="NOWHERE"):
        services.execute("SHOW JOB SERVICES IN SCHEMA freshet.nowhere")


EXECUTE = "EXECUTE JOB SERVICE IN COMPUTE POOL"
YAML_SPEC = """
spec:
  containers:
    - name: main
      image: /db/s/repo/echo:1
      command: [sh, -c, 'echo "$GREETING $SNOWFLAKE_JOB_INDEX of $SNOWFLAKE_JOBS_COUNT"']
      env: {GREETING: hello}
"""


@pytest.mark.parametrize(
    "statement",
    [
        "{head} {pool} NAME = {name} ASYNC = TRUE REPLICAS = 1 FROM SPECIFICATION {spec}",
        "{head} identifier('{pool}') from specification {spec} async=true replicas=1 name={name}",
        (
            "{head} {pool} FROM SPECIFICATION {spec} NAME = freshet.public.{name}, ASYNC = TRUE, REPLICAS = 1,"
            " EXTERNAL_ACCESS_INTEGRATIONS = (a, b), QUERY_WAREHOUSE = w, COMMENT = 'c';"
        ),
    ],
)
def test_clauses_come_in_any_order(services: JobServices, pool: str, statement: str) -> None:
    name = fresh()
    services.execute(statement.format(head=EXECUTE, pool=pool, name=name, spec=f"$${YAML_SPEC}$$"))
    assert ended(services, name).status is JobStatus.DONE
    assert services.logs(name) == "hello 0 of 1"


def test_a_template_is_filled(services: JobServices, pool: str) -> None:
    name, spec = fresh(), shell("echo {{ word }} {{ other | default('fallback') }}")
    head = f"EXECUTE JOB SERVICE IN COMPUTE POOL {pool} NAME = {name} ASYNC = TRUE FROM SPECIFICATION_TEMPLATE"
    services.execute(f"{head} $${spec}$$ USING (word => 'given')")
    ended(services, name)
    assert services.logs(name) == "given fallback"
    with pytest.raises(SnowflakeRefusedError, match="word"):
        services.execute(f"{head} $${spec}$$ USING (x => 1)")


def test_replicas_run_one_by_one_on_one_node_and_know_their_index(services: JobServices, pool: str) -> None:
    name = fresh()
    spec = shell("echo $SNOWFLAKE_JOB_INDEX/$SNOWFLAKE_JOBS_COUNT")
    services.execute(f"{EXECUTE} {pool} NAME = {name} ASYNC = TRUE REPLICAS = 3 FROM SPECIFICATION $${spec}$$")
    assert ended(services, name).status is JobStatus.DONE
    assert [services.logs(name, instance=index) for index in range(3)] == ["0/3", "1/3", "2/3"]


def test_a_synchronous_job_that_fails_is_an_error(services: JobServices, pool: str) -> None:
    with pytest.raises(SnowflakeRefusedError, match="FAILED"):
        services.execute(f"EXECUTE JOB SERVICE IN COMPUTE POOL {pool} FROM SPECIFICATION $${shell('exit 1')}$$")


def test_a_suspended_pool_without_resume_holds_its_jobs_back(services: JobServices, pool: str) -> None:
    name = fresh()
    services.execute(f"ALTER COMPUTE POOL {pool} SET AUTO_RESUME = FALSE")
    services.execute(f"ALTER COMPUTE POOL {pool} SUSPEND")
    services.submit(name, pool, shell("true"), "mine")
    assert status(services, name) is JobStatus.PENDING
    services.execute(f"ALTER COMPUTE POOL {pool} RESUME")
    assert ended(services, name).status is JobStatus.DONE


def test_more_nodes_run_more_jobs(services: JobServices, pool: str, tmp_path: Path) -> None:
    first, second = fresh(), fresh()
    script = "touch {0}/{1}; while [ ! -e {0}/{2} ]; do sleep 0.02; done"
    services.submit(first, pool, shell(script.format(tmp_path, "a", "b")), "mine")
    services.submit(second, pool, shell(script.format(tmp_path, "b", "a")), "mine")
    services.execute(f"ALTER COMPUTE POOL {pool} SET MAX_NODES = 2")
    assert ended(services, first).status is ended(services, second).status is JobStatus.DONE


def test_a_pool_is_made_once_and_dropped_when_idle(services: JobServices) -> None:
    name = fresh("POOL")
    create = f"{name} MIN_NODES = 1 MAX_NODES = 2 INSTANCE_FAMILY = CPU_X64_S COMMENT = 'c'"
    services.execute(f"CREATE COMPUTE POOL {create}")
    services.execute(f"CREATE COMPUTE POOL IF NOT EXISTS {create}")
    with pytest.raises(SnowflakeRefusedError) as taken:
        services.execute(f"CREATE COMPUTE POOL {create}")
    assert taken.value.errno == 2002
    with pytest.raises(SnowflakeRefusedError, match="MIN_NODES"):
        services.execute(f"ALTER COMPUTE POOL {name} SET MIN_NODES = 3")
    (row,) = services.execute(f"DESC COMPUTE POOL {name}")
    assert (row["min_nodes"], row["max_nodes"], row["state"], row["comment"]) == (1, 2, "IDLE", "c")
    services.execute(f"DROP COMPUTE POOL {name}")
    with pytest.raises(SnowflakeRefusedError) as missing:
        services.execute(f"DESC COMPUTE POOL {name}")
    assert missing.value.errno == 2003


def test_the_defaults_are_there(services: JobServices) -> None:
    pools = {row["name"]: row["max_nodes"] for row in services.execute("SHOW COMPUTE POOLS")}
    assert (pools["PR_STD_POOL_XS"], pools["PR_STD_POOL_S"]) == (1, 2)
    row = services.execute("SELECT CURRENT_DATABASE() d, CURRENT_SCHEMA() s, CURRENT_WAREHOUSE() w, CURRENT_USER() u")
    assert row == [{"d": "FRESHET", "s": "PUBLIC", "w": "COMPUTE_WH", "u": "FRESHET"}]


def test_the_session_moves_with_use(services: JobServices) -> None:
    name = fresh("DB")
    services.execute(f"CREATE DATABASE {name}")
    services.execute(f"CREATE SCHEMA {name}.work")
    services.execute(f"USE {name}.work")
    services.execute("ALTER SESSION SET QUERY_TAG = 'tests' STATEMENT_TIMEOUT_IN_SECONDS = 60")
    services.execute("USE ROLE somebody")
    row = services.execute("SELECT CURRENT_DATABASE() d, CURRENT_SCHEMA() s, CURRENT_ROLE() r")
    assert row == [{"d": name, "s": "WORK", "r": "SOMEBODY"}]
    with pytest.raises(SnowflakeRefusedError, match="NOWHERE"):
        services.execute("USE DATABASE nowhere")


def test_the_platforms_functions_join_with_ordinary_sql(services: JobServices, done: str) -> None:
    history = "TABLE(SNOWFLAKE.SPCS.GET_JOB_HISTORY(RESULT_LIMIT => 10000)) h"
    (row,) = services.execute(f"SELECT COUNT(*) AS n, MAX(h.status) AS status FROM {history} WHERE h.name = '{done}'")
    assert row == {"n": 1, "status": "DONE"}
    (lines,) = services.execute(f"SELECT log FROM TABLE({done}!SPCS_GET_LOGS()) WHERE container_name = 'main' LIMIT 1")
    assert lines == {"log": "line"}
    (found,) = services.execute(f"SELECT SYSTEM$GET_SERVICE_STATUS('{done}') AS status")
    assert json.loads(found["status"])[0]["status"] == "DONE"


def test_tables_work_under_all_their_names(services: JobServices) -> None:
    table = fresh()
    services.execute(f"CREATE OR REPLACE TABLE {table} (id NUMBER, name STRING, at TIMESTAMP_NTZ)")
    services.execute(f"INSERT INTO freshet.public.{table} (id, name) SELECT 1, 'a' UNION ALL SELECT 2, '007'")
    services.execute(f"UPDATE {table.lower()} SET at = CURRENT_TIMESTAMP() WHERE id = 2")
    rows = services.execute(
        f"WITH x AS (SELECT id, name FROM public.{table}) SELECT x.name FROM x, {table} y WHERE x.id = y.id"
        " AND y.at IS NOT NULL"
    )
    assert rows == [{"name": "007"}]
    services.execute(f"CREATE TABLE IF NOT EXISTS {table} (id NUMBER)")
    services.execute(f"DELETE FROM IDENTIFIER('freshet.public.{table}') WHERE id = 1")
    services.execute(f"TRUNCATE TABLE {table}")
    assert services.execute(f"SELECT COUNT(*) AS n FROM {table}") == [{"n": 0}]
    with pytest.raises(SnowflakeRefusedError) as taken:
        services.execute(f"CREATE TABLE {table} (id NUMBER)")
    assert taken.value.errno == 2002
    services.execute(f"DROP TABLE {table}")
    with pytest.raises(SnowflakeRefusedError) as missing:
        services.execute(f"SELECT * FROM {table}")
    assert missing.value.errno == 2003


def test_a_transaction_of_one_session_is_rolled_back_alone(emulator: EmulatorProcess, services: JobServices) -> None:
    table, other = fresh(), emulator.services()
    services.execute(f"CREATE TABLE {table} (id NUMBER)")
    services.execute("BEGIN")
    services.execute(f"INSERT INTO {table} VALUES (1)")
    assert other.execute(f"SELECT COUNT(*) AS n FROM {table}") == [{"n": 0}]
    services.execute("ROLLBACK")
    services.execute("COMMIT")
    assert services.execute(f"SELECT COUNT(*) AS n FROM {table}") == [{"n": 0}]
    other.close()


CONTAINER = """
import os
from pathlib import Path
from snowflake import connector
place = {key: os.environ["SNOWFLAKE_" + key.upper()] for key in ("account", "host", "protocol", "database", "schema")}
token = Path(os.environ["SNOWFLAKE_TOKEN_FILE_PATH"]).read_text()
insert = "INSERT INTO " + os.environ["TABLE"] + " SELECT CURRENT_USER(), %s"
with connector.connect(
    **place, port=int(os.environ["SNOWFLAKE_PORT"]), authenticator="oauth", token=token,
    enable_server_session_keep_alive_auto_detection=False,
) as connection:
    connection.cursor().execute(insert, (os.environ["DAY"],))
"""


def test_a_container_logs_in_with_its_token_and_appends_to_a_table(services: JobServices, pool: str) -> None:
    table, name = fresh(), fresh()
    services.execute(f"CREATE TABLE {table} (who VARCHAR, day VARCHAR)")
    container = {"name": "main", "image": "/x", "command": [sys.executable, "-c", CONTAINER]}
    environment = {"TABLE": table, "DAY": "2026-03-01"}
    services.submit(name, pool, json.dumps({"spec": {"containers": [container | {"env": environment}]}}), "mine")
    assert ended(services, name).status is JobStatus.DONE, services.logs(name)
    assert services.execute(f"SELECT * FROM {table}") == [{"who": name, "day": "2026-03-01"}]


def test_containers_do_not_see_the_emulators_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRESHET_DATABASE_URL", "secret")
    own = EmulatorProcess()
    services, name = own.services(), fresh()
    services.submit(name, "PR_STD_POOL_XS", shell("echo ${FRESHET_DATABASE_URL-nothing}"), "mine")
    ended(services, name)
    assert services.logs(name) == "nothing"
    services.close()
    own.stop()


def test_the_image_map_gives_a_command_to_an_image(tmp_path: Path) -> None:
    images = tmp_path / "images.yaml"
    images.write_text('"*/repo/train:*": ["{python}", "-c", "import sys; print(sys.argv[1:])"]\n')
    own = EmulatorProcess("--images", str(images))
    services, name = own.services(), fresh()
    container = {"name": "main", "image": "/db/s/repo/train:1", "args": ["--result_table=results_1"]}
    services.submit(name, "PR_STD_POOL_XS", json.dumps({"spec": {"containers": [container]}}), "mine")
    assert ended(services, name).status is JobStatus.DONE
    assert services.logs(name) == "['--result_table=results_1']"
    services.close()
    own.stop()


def test_tables_pools_and_ended_jobs_outlive_a_restart_and_running_ones_are_lost(tmp_path: Path) -> None:
    first = EmulatorProcess("--state", str(tmp_path))
    services = first.services()
    services.execute("CREATE COMPUTE POOL kept MIN_NODES = 1 MAX_NODES = 1 INSTANCE_FAMILY = CPU_X64_XS")
    services.execute("CREATE TABLE kept (i NUMBER)")
    services.execute("INSERT INTO kept VALUES (5)")
    services.submit("ENDED", "KEPT", shell("echo bye; exit 4"), "mine")
    ended(services, "ENDED")
    services.submit("RAN", "KEPT", shell("exec sleep 600"), "mine")
    services.submit("WAITED", "KEPT", shell("true"), "mine")
    until(lambda: status(services, "RAN") is JobStatus.RUNNING)
    first.kill()
    services.close()
    second = EmulatorProcess("--state", str(tmp_path))
    services = second.services()
    assert services.execute("SELECT i FROM kept") == [{"i": 5}]
    assert ended(services, "WAITED").status is JobStatus.DONE
    assert status(services, "RAN") is JobStatus.INTERNAL_ERROR
    assert status(services, "ENDED") is JobStatus.FAILED
    assert (services.containers("ENDED")[0].exit_code, services.logs("ENDED")) == (4, "bye")
    services.close()
    assert second.stop() == 0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent died")
@pytest.mark.parametrize("ending", ["stop", "kill"])
def test_containers_die_with_the_emulator(tmp_path: Path, ending: str) -> None:
    own = EmulatorProcess()
    services, mark = own.services(), tmp_path / "pid"
    services.submit(
        fresh(), "PR_STD_POOL_XS", shell(f"echo $$ > {mark}.new; mv {mark}.new {mark}; exec sleep 600"), "x"
    )
    until(mark.exists)
    assert running(mark.read_text().strip())
    getattr(own, ending)()
    services.close()
    until(lambda: not running(mark.read_text().strip()))


def running(pid: str) -> bool:
    """Whether a process exists and is no zombie (which a container without an init leaves behind)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(
    ("options", "word"),
    [(["--port", "x"], "--port"), (["--images", "/no/such/file"], "/no/such/file"), (["--hold", "0"], "--hold")],
)
def test_wrong_settings_are_named_at_the_start(
    options: list[str], word: str, capfd: pytest.CaptureFixture[str]
) -> None:
    from freshet_emulator.main import main

    assert main(options) == 2
    assert word in capfd.readouterr().err
