"""`python -m freshet_api`: settings, wiring, main."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from decimal import Decimal
from types import FrameType

import uvicorn

from freshet.bus import Bus
from freshet.domain.cost import CREDITS_PER_HOUR, Rates, pool_key
from freshet.runtime import log
from freshet.runtime.parentage import watch_parent
from freshet.runtime.settings import ApiSettings, load
from freshet.storage.database import Database
from freshet.telemetry import Telemetry
from freshet_api.app import create_app
from freshet_api.door import Door

SESSIONS = 8  # Postgres sessions at most; as many requests are answered at a time
GRACE = 5  # seconds for requests that run when a signal comes


class Server(uvicorn.Server):
    """uvicorn's server, which ends open streams at a signal: they would else hold it up."""

    def __init__(self, config: uvicorn.Config, door: Door) -> None:
        super().__init__(config)
        self._door = door

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002  (the signature of signals)
        """Begin to shut down."""
        self._door.feed.close()
        # A second signal ends now. The base class would raise the signal again after a clean shutdown.
        self.force_exit = self.should_exit
        self.should_exit = True


def rates(settings: ApiSettings) -> Rates:
    """What an hour in a compute pool costs: the built-in table, and what the settings say besides or instead."""
    return Rates(
        credits_per_hour={**CREDITS_PER_HOUR, **_upper(settings.credits_per_hour)},
        families={pool_key(pool): family.upper() for pool, family in settings.pool_families.items()},
    )


def _upper(rates: Mapping[str, Decimal]) -> dict[str, Decimal]:
    return {family.upper(): rate for family, rate in rates.items()}


def main() -> int:
    """Serve until a signal; the exit code."""
    settings = load(ApiSettings)
    log.configure("api", settings.log_level)
    watch_parent()
    door = Door(
        database=Database(settings.database_url.get_secret_value(), name="api", sessions=SESSIONS),
        bus=Bus(settings.redis_url.get_secret_value(), name="freshet api"),
        token=settings.token.get_secret_value() if settings.token else None,
        telemetry=Telemetry("api"),
        rates=rates(settings),
    )
    config = uvicorn.Config(
        create_app(door, max_body=settings.max_body_bytes),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE,
    )
    Server(config, door).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
