"""Longer runs of the model: `uv run python -m tests.model --examples 2000 --steps 60`.

Each call tries other examples than the last one. What fails is shrunk and printed as a list of steps; the seed that is
printed, given as `--hypothesis-seed`, finds it again.
"""

from __future__ import annotations

import argparse
import os
import sys

import pytest
from tests.model import EXAMPLES, STEPS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.model", description=__doc__)
    parser.add_argument("--examples", type=int, default=500)
    parser.add_argument("--steps", type=int, default=50)
    asked, rest = parser.parse_known_args()
    os.environ |= {EXAMPLES: str(asked.examples), STEPS: str(asked.steps)}
    return pytest.main(["-n0", "-q", "-x", "--timeout=0", "--show-capture=no", "tests/model/test_model.py", *rest])


if __name__ == "__main__":
    sys.exit(main())
