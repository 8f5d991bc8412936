"""How long the machine runs: short and always the same in the suite, as long as wanted by hand (`__main__.py`)."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings
from tests.model import EXAMPLES, STEPS


def profile() -> settings:
    """The suite's settings, or the longer ones that the environment asks for."""
    # A step takes milliseconds and an example tenths of a second: no deadline, and no word about slowness.
    patient = settings(deadline=None, suppress_health_check=list(HealthCheck), database=None)
    if EXAMPLES not in os.environ:
        # Not shrunk: that takes minutes on real servers, and the longer runs do it.
        phases = (Phase.explicit, Phase.generate)
        return settings(patient, max_examples=90, stateful_step_count=25, derandomize=True, phases=phases)
    examples, steps = int(os.environ[EXAMPLES]), int(os.environ[STEPS])
    return settings(patient, max_examples=examples, stateful_step_count=steps, print_blob=True)
