"""The pipes: queues, wake-ups, the stream of facts, heartbeats; the only home of redis and rq.

Purpose: to carry names of rows and to wake. Guarantees: whatever is lost here is made again from Postgres; nothing
that is decided depends on a message having arrived. Never: a truth that stands only in Redis.
"""

from freshet.bus.bus import Bus, Heartbeat, Message
from freshet.bus.facts import Fact, FactReader
from freshet.bus.worker import QueueWorker

__all__ = ["Bus", "Fact", "FactReader", "Heartbeat", "Message", "QueueWorker"]
