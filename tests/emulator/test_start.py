"""How the emulator starts."""

from __future__ import annotations

import subprocess
import sys

import httpx
import pytest
from tests.emulator.server import EmulatorProcess

from freshet_emulator.emulator import what_it_is


def test_the_libraries_of_the_tables_are_not_loaded_before_a_statement_needs_them() -> None:
    program = "import sys, freshet_emulator.app; print({'duckdb', 'sqlglot'} & set(sys.modules))"
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert finished.stdout == "set()\n"


@pytest.mark.parametrize(
    ("sql", "kind"),
    [
        ("  show job  services like 'A\\\\_%' in schema a.b", "SHOW JOB SERVICES"),
        ("SHOW SERVICE CONTAINERS IN SERVICE a", "SHOW SERVICE CONTAINERS"),
        ("SHOW COMPUTE POOLS", "SHOW COMPUTE POOLS"),
        ("EXECUTE JOB SERVICE IN COMPUTE POOL p", "EXECUTE JOB SERVICE"),
        ("SELECT SYSTEM$GET_SERVICE_LOGS('a', '0', 'main') AS logs", "SYSTEM$GET_SERVICE_LOGS"),
        ("CALL a.b.c!SPCS_CANCEL_JOB()", "SPCS_CANCEL_JOB"),
        ("DROP SERVICE IF EXISTS a", "DROP SERVICE"),
        ("SELECT 1", "other"),
    ],
)
def test_a_statement_is_counted_by_what_it_is_about(sql: str, kind: str) -> None:
    assert what_it_is(sql) == kind


def test_the_page_of_metrics_counts_statements() -> None:
    emulator = EmulatorProcess()
    services = emulator.services()
    for _ in range(2):
        services.list_jobs("A_")
    page = httpx.get(f"{emulator.url}/metrics").text
    services.close()
    assert emulator.stop() == 0
    assert 'freshet_emulator_statements_total{kind="SHOW JOB SERVICES"} 2' in page.splitlines()
