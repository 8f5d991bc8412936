"""Fixtures for real servers. Nothing starts before a test asks; freshet.testing.servers tells where from.

`database` and `redis` answer URLs: a migrated Postgres database of the test's own, and an empty Redis
database of this pytest process's own (pub/sub channels are the one thing that Redis databases share). A
test that flushes all databases, or stops or kills a server, takes `own_postgres` and `own_redis`.
"""

import os
from collections.abc import Iterator

import hypothesis
import pytest
from hypothesis import Phase

from freshet.testing import servers
from freshet.testing.servers import Server, Session

# For tests.mutants: whether an example is found, not how small it can be.
hypothesis.settings.register_profile("unshrunk", phases=[Phase.explicit, Phase.reuse, Phase.generate])
_SESSION = pytest.StashKey[Session]()


def pytest_configure(config: pytest.Config) -> None:
    # In the controller before its xdist processes are made: they inherit the session by the environment.
    config.stash[_SESSION] = servers.open_session()


def pytest_unconfigure(config: pytest.Config) -> None:
    if (session := config.stash.get(_SESSION, None)) is not None:
        servers.close_session(session)


@pytest.fixture(scope="session")
def server_session(pytestconfig: pytest.Config) -> Session:
    return pytestconfig.stash[_SESSION]


@pytest.fixture(scope="session")
def postgres_url(server_session: Session) -> str:
    """The shared Postgres, as a superuser; make databases of your own in it and leave the rest alone."""
    return servers.shared_postgres(server_session)


@pytest.fixture(scope="session")
def redis_url(server_session: Session) -> str:
    """The shared Redis without a database number; most tests want `redis`."""
    return servers.shared_redis(server_session)


@pytest.fixture
def database(server_session: Session, postgres_url: str) -> Iterator[str]:
    """The URL of a fresh, migrated database."""
    from freshet.storage import migrate

    url = servers.migrated_database(server_session, postgres_url, migrate)
    yield url
    servers.drop_database(postgres_url, servers.database_name(url))


@pytest.fixture
def empty_database(postgres_url: str) -> Iterator[str]:
    """The URL of a fresh database that no migration has touched."""
    url = servers.create_database(postgres_url, f"test_{os.urandom(8).hex()}")
    yield url
    servers.drop_database(postgres_url, servers.database_name(url))


@pytest.fixture
def redis(redis_url: str) -> str:
    """The URL of an empty Redis database that no other process of this session uses."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    url = servers.with_redis_database(redis_url, int(worker) + 1)
    servers.flush_redis(url)
    return url


@pytest.fixture
def own_postgres(server_session: Session) -> Iterator[Server]:
    """A Postgres for this test alone: kill, stop, start, pause and resume it at will."""
    server = servers.start_postgres(server_session)
    yield server
    server.remove()


@pytest.fixture
def own_redis(server_session: Session) -> Iterator[Server]:
    """A Redis for this test alone: flush, kill, stop, start, pause and resume it at will."""
    server = servers.start_redis(server_session)
    yield server
    server.remove()
