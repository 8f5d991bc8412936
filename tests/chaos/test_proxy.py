"""A line that is cut holds back what was sent, and a line that is healed delivers it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest
from tests.chaos.network import LOCAL, Proxy


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that says everything again, for one client."""
    with socket.create_server((LOCAL, 0)) as server:

        def serve() -> None:
            client, _ = server.accept()
            with client:
                while chunk := client.recv(1024):
                    client.sendall(chunk)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield int(server.getsockname()[1])
        thread.join(5.0)


def test_nothing_passes_a_cut_line_until_it_is_healed(echo: int) -> None:
    with closing(Proxy()) as proxy, socket.create_connection(proxy.address(echo)) as client:
        client.settimeout(10.0)
        client.sendall(b"before")
        assert client.recv(1024) == b"before"
        proxy.cut()
        client.sendall(b"during")
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.recv(1024)
        proxy.heal()
        client.settimeout(10.0)
        assert client.recv(1024) == b"during"
