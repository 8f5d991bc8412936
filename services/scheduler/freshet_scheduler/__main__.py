"""`python -m freshet_scheduler`: settings, wiring, main."""

from __future__ import annotations

import sys
import threading

from freshet.bus import Bus
from freshet.runtime import log
from freshet.runtime.service import run_service
from freshet.runtime.settings import SchedulerSettings, load
from freshet.scheduling import Ticker
from freshet.storage.database import Database
from freshet.storage.leadership import SCHEDULER, Leadership
from freshet.storage.requests import Requests
from freshet.storage.schedules import Schedules
from freshet_scheduler.service import Scheduler


def main() -> int:
    """Run until a signal; the exit code."""
    settings = load(SchedulerSettings)
    log.configure("scheduler", settings.log_level)
    database = Database(settings.database_url.get_secret_value(), name="scheduler", sessions=1)
    bus = Bus(settings.redis_url.get_secret_value(), name="freshet scheduler")
    stop = threading.Event()
    leadership = Leadership(database, SCHEDULER)
    requests = Requests(database)
    scheduler = Scheduler(
        ticker=Ticker(schedules=Schedules(database), requests=requests, max_catch_up=settings.max_catch_up),
        requests=requests,
        leadership=leadership,
        bus=bus,
        stop=stop,
    )
    try:
        return run_service(
            "scheduler",
            scheduler.once,
            health_host=settings.health_host,
            health_port=settings.health_port,
            stop=stop,
        )
    finally:
        leadership.resign()
        database.close()
        bus.close()


if __name__ == "__main__":
    sys.exit(main())
