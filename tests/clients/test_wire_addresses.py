"""The addresses of a broker's name, and what a port of another protocol answers; over the wire driver's connections."""

import contextlib
import socket
import threading

import pytest

from hydra.clients import wire_addresses
from hydra.clients.wire_connection import TLS_RECORDS
from hydra.clients.wire_subscriber import WireSubscriber
from hydra.endpoints import Endpoint

NAME = "kafka.example"


@pytest.fixture
def names(monkeypatch):
    """What a name resolves to, by name; how often it was asked for is its number of looks."""
    known = {}
    resolve = socket.getaddrinfo

    def getaddrinfo(host, port, *arguments, **settings):
        if host not in known:
            return resolve(host, port, *arguments, **settings)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in known[host]]

    monkeypatch.setattr(wire_addresses.socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(wire_addresses, "_ASK_AGAIN_S", 0.0)
    return known


@pytest.fixture
def subscriber(reading):
    with contextlib.ExitStack() as closing:

        def make(port):
            endpoint = Endpoint(NAME, port)
            driver = WireSubscriber(reading(f"{NAME}:{port}", "topic", leaders={0: endpoint}))
            closing.callback(driver.close)
            driver.open()
            return driver

        yield make


def test_every_address_is_tried_in_turn(scripted, subscriber, names, until, run_batch):
    broker = scripted()
    broker.append(run_batch(range(10)))
    names[NAME] = ["127.0.0.2", "127.0.0.3", "127.0.0.1"]
    with contextlib.closing(socket.socket()) as probe:
        assert probe.connect_ex(("127.0.0.2", broker.endpoint.port))  # nobody is there
    driver = subscriber(broker.endpoint.port)
    until(lambda: driver.tallies[0].received == 10, lambda: driver.poll(0.05), timeout_s=3)


def test_an_address_that_failed_is_the_last_to_be_tried_again():
    addresses = wire_addresses.Addresses()
    both = [(socket.AF_INET, ("127.0.0.1", 1)), (socket.AF_INET, ("127.0.0.2", 1))]
    addresses._found[Endpoint(NAME, 1)] = (float("inf"), both)
    assert addresses.of(Endpoint(NAME, 1)) == both
    addresses.failed(Endpoint(NAME, 1), both[0])
    assert addresses.of(Endpoint(NAME, 1)) == both[::-1]
    addresses.failed(Endpoint(NAME, 1), both[1])
    assert addresses.of(Endpoint(NAME, 1)) == both


def test_a_broker_that_is_back_at_another_address_is_found(scripted, subscriber, names, until, run_batch):
    first = scripted(host="127.0.0.2")
    names[NAME] = ["127.0.0.2"]
    first.append(run_batch(range(5)))
    driver = subscriber(first.endpoint.port)
    tally = driver.tallies[0]
    until(lambda: tally.received == 5, lambda: driver.poll(0.05))
    first.close()
    second = scripted(host="127.0.0.3", port=first.endpoint.port)
    second.leaders = {0: Endpoint(NAME, second.endpoint.port)}
    second.append(run_batch(range(5)))
    second.append(run_batch(range(5, 10), base=5))
    names[NAME] = ["127.0.0.3"]
    until(lambda: tally.received == 10, lambda: driver.poll(0.05))


@pytest.fixture
def failing_look_ups(monkeypatch):
    """No name can be looked up, for the reasons in turn; the reasons that are left."""
    reasons = []

    def fail(*_arguments, **_settings):
        raise reasons.pop()

    monkeypatch.setattr(wire_addresses.socket, "getaddrinfo", fail)
    return reasons


@pytest.mark.parametrize(
    "reason",
    [
        socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"),
        socket.gaierror(socket.EAI_NODATA, "No address associated with hostname"),
        socket.gaierror(socket.EAI_MEMORY, "Out of it"),
        UnicodeError("label too long"),
    ],
)
def test_a_name_that_is_unknown_is_told_and_no_fault_of_the_client(subscriber, until, failing_look_ups, reason):
    failing_look_ups.append(reason)
    tally = subscriber(9092).tallies[0]
    words = getattr(reason, "strerror", None) or str(reason)
    assert tally.error == f"kafka.example:9092: the name cannot be resolved ({words})"
    assert tally.own_errors.count == 0


def test_a_look_up_that_failed_is_made_again_after_a_while_and_not_for_each_client(monkeypatch, failing_look_ups):
    now_s = [100.0]
    monkeypatch.setattr(wire_addresses.time, "monotonic", lambda: now_s[0])
    addresses = wire_addresses.Addresses()
    failing_look_ups += [socket.gaierror(socket.EAI_AGAIN, "again"), socket.gaierror(socket.EAI_AGAIN, "not yet")]
    for _client in range(200):
        with pytest.raises(socket.gaierror, match="not yet"):
            addresses.of(Endpoint(NAME, 1))
    now_s[0] += wire_addresses._ASK_AGAIN_S
    with pytest.raises(socket.gaierror, match="again"):
        addresses.of(Endpoint(NAME, 1))
    assert not failing_look_ups


def test_a_look_up_that_took_long_is_good_from_its_end_on(monkeypatch):
    now_s, looks = [100.0], []

    def slowly(*_arguments, **_settings):
        now_s[0] += 5 * wire_addresses._ASK_AGAIN_S
        looks.append(now_s[0])
        raise socket.gaierror(socket.EAI_AGAIN, "no name server answers")

    monkeypatch.setattr(wire_addresses.time, "monotonic", lambda: now_s[0])
    monkeypatch.setattr(wire_addresses.socket, "getaddrinfo", slowly)
    addresses = wire_addresses.Addresses()
    for _client in range(3):
        with pytest.raises(socket.gaierror, match="no name server"):
            addresses.of(Endpoint(NAME, 1))
    assert len(looks) == 1


@pytest.mark.parametrize("beginning", TLS_RECORDS)
@pytest.mark.parametrize("rest", [b"\x03\x00\x02\x02\x28", b"\x03" + bytes(100)])
def test_a_port_that_speaks_tls_is_told_as_tls(subscriber, names, until, beginning, rest):
    names[NAME] = ["127.0.0.1"]
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)

        def answer():
            connection, _ = server.accept()
            with connection:
                connection.recv(100)
                connection.sendall(beginning + rest)

        thread = threading.Thread(target=answer)
        thread.start()
        driver = subscriber(server.getsockname()[1])
        until(lambda: "this port speaks TLS" in driver.tallies[0].error, lambda: driver.poll(0.02), timeout_s=5)
        thread.join(10)
