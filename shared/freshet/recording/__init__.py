"""Committed facts into the logging tables and into metrics, and what is old out of them.

Purpose: the recorder's passes. Guarantees: whatever was committed is recorded exactly once, whether or not Redis ever
told of it; a metric is counted after the commit, so it never tells of what did not happen. Never: a decision.
"""

from freshet.recording.levels import WorkerTimes, observe_levels
from freshet.recording.measures import Measures
from freshet.recording.recorder import Recorder
from freshet.recording.retention import Pruned, RetentionPass

__all__ = ["Measures", "Pruned", "Recorder", "RetentionPass", "WorkerTimes", "observe_levels"]
