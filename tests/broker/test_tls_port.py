"""A port that speaks TLS, asked in plain words: told as TLS, by whichever way it refuses."""

import contextlib
import socket
import threading
import time

import pytest

from hydra.broker.admin import KafkaTopicAdmin
from hydra.broker.connectivity import check_access
from hydra.endpoints import Endpoint
from hydra.errors import BrokerError

ALERT = b"\x15\x03\x03\x00\x02\x02\x28"


@pytest.fixture
def server():
    """Answers each connection's first bytes with what the test says; has closed all of them in the end."""
    with contextlib.ExitStack() as closing:

        def make(answer):
            listener = closing.enter_context(socket.create_server(("127.0.0.1", 0)))

            def serve():
                with contextlib.suppress(OSError):
                    while True:
                        connection, _ = listener.accept()
                        with connection:
                            connection.sendall(answer(connection.recv(4096)))

            thread = threading.Thread(target=serve)
            thread.start()
            closing.callback(thread.join, 10)
            closing.callback(listener.close)
            closing.callback(listener.shutdown, socket.SHUT_RDWR)
            return Endpoint("127.0.0.1", listener.getsockname()[1])

        yield make


def is_client_hello(request):
    return request[:2] == b"\x16\x03"


@pytest.mark.parametrize(
    "answer",
    [
        lambda _request: ALERT,
        lambda request: ALERT if is_client_hello(request) else b"",  # as Java's engine does: closes on plain words
    ],
)
def test_a_tls_port_is_told_as_tls(server, answer):
    endpoint = server(answer)
    began_s = time.monotonic()
    with (
        contextlib.closing(KafkaTopicAdmin(str(endpoint))) as admin,
        pytest.raises(BrokerError, match=r"speaks TLS.*security_protocol=SSL") as error,
    ):
        admin.check()
    assert time.monotonic() - began_s < 5
    assert (error.value.exit_code, str(endpoint) in str(error.value)) == (4, True)


@pytest.mark.parametrize(
    "answer", [lambda _request: b"", lambda _request: b"\0\0\0\x0a", lambda _request: b"HTTP/1.1 400"]
)
def test_another_port_is_not(server, answer):
    check_access([server(answer)])


def test_a_port_that_is_silent_is_not_waited_for_long():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        began_s = time.monotonic()
        check_access([Endpoint("127.0.0.1", listener.getsockname()[1])], timeout_s=0.4)
        assert time.monotonic() - began_s < 2
