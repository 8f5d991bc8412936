"""`python -m benchmarks`: measure Freshet and its peers, and write tables and plots.

Guarantees: every figure is measured on this machine, and says so with its settings and the steal; what is on disk
already is not measured again, so an interrupted run is gone on with. Never: a figure from somewhere else.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks import environments, report, running
from benchmarks.scale import SCALES


def main() -> None:
    """Measure what is asked for, then draw."""
    options = parser().parse_args()
    if options.report is None:
        running.run(plan(options))
    print(report.write(options.report or options.out, options.cache))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    built = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    built.add_argument("--workloads", type=words(running.WORKLOADS), metavar="A,B", help=", ".join(running.WORKLOADS))
    built.add_argument("--peers", type=words(environments.names()), metavar="A,B", help="or `none`; all by default")
    built.add_argument("--quick", action="store_true", help="small sizes, RQ alone, about three minutes")
    built.add_argument("--scale", choices=sorted(SCALES), default="full", help="sizes; --quick is --scale quick")
    built.add_argument("--repeats", type=int, help="how often each case is measured")
    built.add_argument("--minutes", type=float, help="how long `endurance` goes on")
    built.add_argument("--stored", type=int, help="finished items that `history` stores")
    built.add_argument("--workers", type=int, default=2)
    built.add_argument("--out", type=Path, default=Path("benchmark-results"), help="directory of what is written")
    built.add_argument("--cache", type=Path, default=environments.default_cache(), help="of the peers' environments")
    built.add_argument("--report", type=Path, metavar="DIR", help="measure nothing, draw again what is in DIR")
    return built


def words(known: Sequence[str]) -> Callable[[str], list[str]]:
    """A type of argument: some of these words, comma-separated, or none."""

    def split(text: str) -> list[str]:
        found = [] if text == "none" else text.split(",")
        if unknown := set(found) - set(known):
            raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))} is none of {', '.join(known)}")
        return found

    return split


def plan(options: argparse.Namespace) -> running.Plan:
    """What the command line asks for."""
    scale = SCALES["quick" if options.quick else options.scale]
    changes = {
        "repeats": options.repeats,
        "endurance_s": options.minutes and options.minutes * 60,
        "history": options.stored and (options.stored,),
    }
    quick = scale.name != "full"
    return running.Plan(
        workloads=options.workloads or (running.QUICK if quick else running.WORKLOADS),
        peers=options.peers if options.peers is not None else (["rq"] if quick else environments.names()),
        scale=replace(scale, **{name: value for name, value in changes.items() if value is not None}),
        out=options.out,
        cache=options.cache,
        workers=options.workers,
    )


if __name__ == "__main__":
    main()
