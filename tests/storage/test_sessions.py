"""Sessions over TCP find out that their server is gone, also while they wait for its answer."""

from uuid import uuid4

import psycopg

from freshet.storage.database import Database
from freshet.storage.session import ProcessSession, Turn


def assert_probed(session: psycopg.Connection[object]) -> None:
    told = session.info.get_parameters()
    silence = int(told["keepalives_idle"]) + int(told["keepalives_interval"]) * int(told["keepalives_count"])
    assert silence <= 30
    assert int(told["tcp_user_timeout"]) <= 30_000


def test_a_session_of_the_engine_probes_a_silent_server(database: str) -> None:
    engine = Database(database, name="test")
    with engine.dedicated() as alone:
        assert_probed(alone)
        assert int(alone.info.get_parameters()["connect_timeout"]) <= 5
    with engine.session() as pooled:
        assert_probed(pooled)
    engine.close()


def test_the_session_of_user_code_probes_a_silent_server(database: str) -> None:
    session = ProcessSession(database)
    session.open_turn(Turn(bundle=1, claim=uuid4(), before_begin=lambda: None))
    assert_probed(session.connection)
    session.close()
