"""The report: Markdown, one JSON of all that it says, and plots, from the records on disk.

Guarantee: nothing in it that is not in the records; it can be written again at any time. Never: a measurement.
"""

from __future__ import annotations

import subprocess
from dataclasses import asdict
from pathlib import Path

import orjson

from benchmarks.environments import PLOTS, environment
from benchmarks.figures import NOT_MEASURED, Json, Results, write_json
from benchmarks.report import budgets, comparison, series, tables

DRAWING = Path(__file__).with_name("drawing.py")


def write(directory: Path, cache: Path) -> str:
    """Write report.md, report.json and plots/; the text of report.md."""
    records = Results(directory).records()
    machine = _machine(directory)
    compared, judged = comparison.compare(records), budgets.judge(records)
    plots = series.plots(records)
    write_json(
        directory / "report.json",
        {
            "machine": machine,
            "comparison": [asdict(each) for each in compared],
            "budgets": [asdict(each) for each in judged],
            "records": [asdict(record) for record in records],
        },
    )
    write_json(directory / "plots" / "plots.json", plots)
    drawn = draw(directory / "plots", cache) if plots else []
    failures = [orjson.loads(path.read_bytes()) for path in sorted((directory / NOT_MEASURED).glob("*.json"))]
    text = tables.document(
        machine=machine, records=records, compared=compared, judged=judged, plots=drawn, failures=failures
    )
    (directory / "report.md").write_text(text, "utf-8")
    return text


def draw(directory: Path, cache: Path) -> list[str]:
    """The names of the plots that were drawn as PNG and SVG, in an environment of their own."""
    done = subprocess.run(
        [str(environment(PLOTS, cache)), str(DRAWING), str(directory)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"The plots can't be drawn:\n{done.stderr}")
    return done.stdout.split()


def _machine(directory: Path) -> Json:
    path = directory / "machine.json"
    found: Json = orjson.loads(path.read_bytes()) if path.exists() else {}
    return found
