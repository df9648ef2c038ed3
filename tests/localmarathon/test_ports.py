import socket

import pytest

from hydra.broker.embedded import free_ports as broker_ports
from hydra.localmarathon.app_definition import AppDefinition, PortDefinition
from hydra.localmarathon.ports import HostPorts, kept_service_ports, with_service_ports

HOST = "127.0.0.1"


def app(*ports, **options):
    return AppDefinition(app_id="/x", ports=tuple(PortDefinition(port) for port in ports), **options)


@pytest.fixture
def ports():
    made = []

    def make(*arguments):
        made.append(HostPorts(HOST, *arguments))
        return made[-1]

    yield make
    for one in made:
        one.release(list(one._claims))


def test_no_port_is_handed_out_twice(ports, free_ports):
    numbers = free_ports(50)
    host_ports = ports(numbers)
    claimed = [port for _ in range(10) for port in host_ports.claim(app(0, 0))]
    assert len(set(claimed)) == 20
    assert set(claimed) <= set(numbers)


def test_a_released_port_comes_back_only_after_the_others(ports, free_ports):
    host_ports = ports(free_ports(50))
    (first,) = host_ports.claim(app(0))
    host_ports.release([first])
    following = {host_ports.claim(app(0))[0] for _ in range(20)}
    assert first not in following


def test_when_all_are_gone_none_is_claimed_in_part(ports, free_ports):
    host_ports = ports(free_ports(3))
    assert len(host_ports.claim(app(0, 0))) == 2
    assert host_ports.claim(app(0, 0)) is None
    assert len(host_ports.claim(app(0))) == 1


def test_a_port_that_somebody_listens_on_is_passed_over(ports):
    with socket.create_server((HOST, 0)) as listener:
        taken = listener.getsockname()[1]
        host_ports = ports(range(taken, taken + 1))
        assert host_ports.claim(app(0)) is None
    assert host_ports.claim(app(0)) == (taken,)


def test_two_servers_never_hand_out_the_same_port(ports, free_ports):
    numbers = free_ports(60)
    claimed = [one.claim(app(0))[0] for _ in range(10) for one in (ports(numbers), ports(numbers))]
    assert len(set(claimed)) == 20


def test_a_task_can_listen_on_its_port(ports):
    (port,) = ports().claim(app(0))
    with socket.create_server((HOST, port)) as listener:
        assert listener.getsockname()[1] == port


def test_a_udp_task_can_bind_its_port(ports):
    (port,) = ports().claim(AppDefinition(app_id="/x", ports=(PortDefinition(0, "udp"),)))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind((HOST, port))


def test_required_ports_are_those_of_the_definition(ports, free_ports):
    with socket.create_server((HOST, 0)) as listener:
        free = listener.getsockname()[1]
        host_ports = ports(free_ports(10))
        assert host_ports.claim(app(free, require_ports=True)) is None
    assert host_ports.claim(app(free, require_ports=True)) == (free,)
    assert host_ports.claim(app(free, require_ports=True)) is None


def test_service_ports_are_unique_and_kept():
    first = with_service_ports(app(0, 10001, 0), taken={10000, 10002})
    assert [port.port for port in first.ports] == [10003, 10001, 10004]
    assert kept_service_ports(app(0, 10001, 0), first.ports) == first
    assert kept_service_ports(app(0), first.ports) == app(0)


def test_no_broker_chooses_the_port_of_a_task_that_does_not_listen_yet(ports, monkeypatch):
    """A local stack starts both at the same time; what chance may bring now and then is brought about here."""
    host_ports = ports()
    claimed = {host_ports.claim(app(0))[0] for _ in range(200)}
    monkeypatch.setattr("random.sample", lambda numbers, _count: [*(set(numbers) & claimed), *numbers])
    assert not claimed & set(broker_ports(2))
