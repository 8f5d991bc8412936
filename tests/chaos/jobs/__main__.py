"""Job services by the thousand, under kill -9, and in pools that are too small for them.

    python -m tests.chaos.jobs flight --jobs 1000 --report FILE
    python -m tests.chaos.jobs deaths --jobs 200 --report FILE
    python -m tests.chaos.jobs pools --jobs 12 --report FILE

The report is a JSON file; exit code 1: a promise is broken. What each show does is said in the module of its name.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.chaos.installation import NotReadyError
from tests.chaos.jobs.deaths import deaths
from tests.chaos.jobs.flight import flight
from tests.chaos.jobs.pools import pools


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.jobs", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=["flight", "deaths", "pools"])
    parser.add_argument("--jobs", type=int, help="1,000, 200 or 6 by default")
    parser.add_argument("--seconds", type=float, help="that a job takes: 280 (flight) or 2 (pools) by default")
    parser.add_argument("--kills", type=int, default=5, help="deaths while jobs are launched")
    parser.add_argument("--report", type=Path, required=True, metavar="FILE")
    given = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        match given.what:
            case "flight":
                report = flight(given.jobs or 1_000, given.seconds or 280.0)
            case "deaths":
                report = deaths(given.jobs or 200, given.kills)
            case _:
                report = pools(given.jobs or 6, given.seconds or 2.0)
    except NotReadyError as error:
        report = {"broken": [str(error)]}
    report["verdict"] = "broken" if report["broken"] else "held"
    text = json.dumps(report, indent=2)
    given.report.write_text(text + "\n")
    print(text)
    return 0 if report["verdict"] == "held" else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
