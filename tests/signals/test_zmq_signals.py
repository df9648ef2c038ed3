"""Signals over real sockets: every request gets one reply, whatever it is, and the next good one is answered soon."""

import contextlib
import os
import socket
import threading
import time

import pytest
import zmq

from hydra.codec import encode
from hydra.endpoints import Endpoint
from hydra.signals import zmq_signals
from hydra.signals.messages import Request, SignalError, decode_reply, request, success
from hydra.signals.zmq_signals import SignalServer, ZmqSignals

HOST = "127.0.0.1"
PING = request("ping")


def free_port():
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def wait_until(condition, timeout_s=5.0):
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "nothing came of it in time"
        time.sleep(0.01)


def pong(asked):
    return success({"signal": asked.signal})


@pytest.fixture(autouse=True)
def _quick_to_stop(monkeypatch):
    monkeypatch.setattr(zmq_signals, "STOP_POLL_MS", 20)


@pytest.fixture
def serve():
    """Starts servers; all are stopped afterwards, with their threads."""
    servers = []

    def start(answer=pong, **options):
        endpoint = Endpoint(HOST, free_port())
        server = SignalServer(endpoint.host, endpoint.port, answer, **options)
        servers.append(server)
        server.start()
        return endpoint

    before = set(threading.enumerate())
    yield start
    stops = [threading.Thread(target=server.stop) for server in servers]
    for stop in stops:
        stop.start()
    for stop in stops:
        stop.join(10)
    assert {thread.name for thread in set(threading.enumerate()) - before} == set()


@pytest.fixture
def signals():
    signals = ZmqSignals()
    yield signals
    signals.close()


@pytest.fixture
def peer():
    """Raw sockets of a peer that keeps to no rules."""
    with contextlib.ExitStack() as closing:
        context = zmq.Context()
        closing.callback(lambda: context.destroy(linger=0))

        def connect(endpoint, kind=zmq.REQ):
            raw = context.socket(kind)
            closing.callback(raw.close)
            raw.setsockopt(zmq.LINGER, 0)
            raw.setsockopt(zmq.RCVTIMEO, 5000)
            raw.connect(f"tcp://{endpoint}")
            return raw

        yield connect


def assert_answers_within_a_second(endpoint):
    signals = ZmqSignals()
    try:
        answer = signals.ask({endpoint: PING}, 1.0)[endpoint]
    finally:
        signals.close()
    assert (answer.ok, answer.body) == (True, b'{"signal":"ping"}')


def test_a_signal_is_answered(serve, signals):
    endpoint = serve()
    answer = signals.ask({endpoint: request("getstats")}, 2.0)[endpoint]
    assert (answer.ok, answer.silent, answer.body) == (True, False, b'{"signal":"getstats"}')


def test_many_peers_are_asked_at_once(serve, signals):
    barrier = threading.Barrier(8, timeout=5)

    def answer(asked):
        barrier.wait()  # none of them answers before all of them were asked
        return pong(asked)

    endpoints = [serve(answer) for _ in range(8)]
    answers = signals.ask(dict.fromkeys(endpoints, PING), 5.0)
    assert set(answers) == set(endpoints)
    assert all(answer.ok for answer in answers.values())


def test_each_peer_gets_its_own_request(serve, signals):
    one, other = serve(), serve()
    answers = signals.ask({one: request("teststart"), other: request("teststop")}, 2.0)
    assert (answers[one].body, answers[other].body) == (b'{"signal":"teststart"}', b'{"signal":"teststop"}')


def test_nobody_to_ask(signals):
    assert signals.ask({}, 1.0) == {}


def test_arguments_arrive(serve, signals):
    heard = []
    endpoint = serve(lambda asked: heard.append(bytes(asked.arguments)) or success())
    big = {"text": "x" * 1_000_000}
    assert signals.ask({endpoint: request("updateconfig", big)}, 5.0)[endpoint].ok
    assert len(heard[0]) > 1_000_000


def test_a_refusal_says_why(serve, signals):
    def refuse(asked):
        raise SignalError(f"no {asked.signal} here")

    endpoint = serve(refuse)
    answer = signals.ask({endpoint: PING}, 2.0)[endpoint]
    assert (answer.ok, answer.silent, answer.error) == (False, False, "no ping here")


def test_a_fault_of_the_task_is_the_senders_to_know_and_no_end_of_the_server(serve, signals, caplog):
    def break_once(asked):
        if asked.signal == "getstats":
            raise ZeroDivisionError("oh")
        return pong(asked)

    endpoint = serve(break_once)
    answer = signals.ask({endpoint: request("getstats")}, 2.0)[endpoint]
    assert (answer.ok, answer.silent, answer.error) == (False, False, "ZeroDivisionError: oh")
    assert "a signal failed" in caplog.text
    assert_answers_within_a_second(endpoint)


def test_a_fault_whose_text_is_no_unicode_does_not_end_the_server(serve, signals):
    def fail_on_getstats(asked):
        if asked.signal == "getstats":
            raise SignalError("no " + os.fsdecode(b"/tmp/\xff"))
        return pong(asked)

    endpoint = serve(fail_on_getstats)
    answer = signals.ask({endpoint: request("getstats")}, 2.0)[endpoint]
    assert (answer.ok, answer.silent) == (False, False)
    assert_answers_within_a_second(endpoint)


def test_a_peer_that_is_not_there_is_silent_and_is_waited_for_no_longer(signals):
    endpoint = Endpoint(HOST, free_port())
    began_s = time.monotonic()
    answer = signals.ask({endpoint: PING}, 0.3)[endpoint]
    assert 0.3 <= time.monotonic() - began_s < 2
    assert (answer.ok, answer.silent, answer.error) == (False, True, "no answer within 0.3 s")


def test_a_silent_peer_does_not_silence_the_others(serve, signals):
    there, absent = serve(), Endpoint(HOST, free_port())
    answers = signals.ask({absent: PING, there: PING}, 0.3)
    assert (answers[there].ok, answers[absent].silent) == (True, True)


def test_a_silent_peer_does_not_silence_those_for_whom_a_socket_comes_free_later(serve, signals, monkeypatch):
    """More peers than sockets, one of the first being silent: the later ones are there all the same."""
    monkeypatch.setattr(zmq_signals, "MAX_REQUESTS_IN_FLIGHT", 2)
    absent = Endpoint(HOST, free_port())
    there = [serve() for _ in range(4)]
    answers = signals.ask({absent: PING} | dict.fromkeys(there, PING), 1.0)
    assert answers[absent].silent
    assert [answers[endpoint].ok for endpoint in there] == [True] * 4


def test_more_peers_than_sockets(serve, signals, monkeypatch):
    monkeypatch.setattr(zmq_signals, "MAX_REQUESTS_IN_FLIGHT", 3)
    endpoints = [serve() for _ in range(7)]
    answers = signals.ask(dict.fromkeys(endpoints, PING), 5.0)
    assert [answers[endpoint].ok for endpoint in endpoints] == [True] * 7


def test_a_late_reply_is_never_taken_for_a_later_answer(serve, signals):
    released = threading.Event()
    replies = iter([b"one", b"two"])

    def answer(asked):
        text = next(replies)
        if text == b"one":
            released.wait(5)
        return success({"reply": text.decode()})

    endpoint = serve(answer)
    assert signals.ask({endpoint: PING}, 0.2)[endpoint].silent
    released.set()
    assert signals.ask({endpoint: PING}, 2.0)[endpoint].body == b'{"reply":"two"}'


def test_a_peer_that_comes_up_late_still_gets_the_request(signals):
    endpoint = Endpoint(HOST, free_port())
    server = []

    def start():
        server.append(SignalServer(endpoint.host, endpoint.port, pong))
        server[0].start()

    timer = threading.Timer(0.3, start)
    timer.start()
    try:
        assert signals.ask({endpoint: PING}, 5.0)[endpoint].ok
    finally:
        timer.join()
        server[0].stop()


@pytest.mark.parametrize(
    "data",
    [b"", b"ping", b"\xff\xfe", b"\x80\x04\x95.", b"[" * 100_000, b'{"signal": "rm -rf"}', b'{"signal": 1}', b"null"],
    ids=range(8),
)
def test_garbage_gets_one_structured_reply(serve, peer, data):
    endpoint = serve()
    raw = peer(endpoint)
    raw.send(data)
    reply = decode_reply(raw.recv())
    assert not reply.ok
    assert reply.error.startswith("not a valid Request: ")
    assert_answers_within_a_second(endpoint)


def test_a_request_of_several_frames_is_refused(serve, peer):
    endpoint = serve()
    raw = peer(endpoint)
    raw.send_multipart([encode(PING), b"and more"])
    assert decode_reply(raw.recv()).error == "a request of 2 frames: it must be one"
    assert_answers_within_a_second(endpoint)


def test_a_request_that_is_too_large_is_cut_off(serve, peer, monkeypatch):
    monkeypatch.setattr(zmq_signals, "REQUEST_LIMIT_BYTES", 10_000)
    heard = []
    endpoint = serve(lambda asked: heard.append(asked) or pong(asked))
    raw = peer(endpoint)
    raw.setsockopt(zmq.RCVTIMEO, 300)
    raw.send(b"x" * 10_001)
    with pytest.raises(zmq.Again):
        raw.recv()
    assert heard == []
    assert_answers_within_a_second(endpoint)


@pytest.mark.parametrize("frames", [[b"a", b"b", b"c"], [encode(PING)]], ids=["three", "one"])
def test_frames_without_an_envelope_do_no_harm(serve, peer, frames):
    looks = []
    endpoint = serve(look=lambda: looks.append(1))
    raw = peer(endpoint, zmq.DEALER)
    raw.send_multipart(frames)
    assert_answers_within_a_second(endpoint)
    raw.send_multipart(frames)
    seen = len(looks)
    wait_until(lambda: len(looks) > seen + 2)  # a server that waits for the rest would look round no more


def test_a_peer_that_leaves_before_its_reply_does_no_harm(serve, peer):
    asked = threading.Event()
    released = threading.Event()

    def answer(request):
        if request.signal == "getstats":
            asked.set()
            released.wait(5)
        return pong(request)

    endpoint = serve(answer)
    raw = peer(endpoint)
    raw.send(encode(request("getstats")))
    assert asked.wait(5)
    raw.close(linger=0)
    released.set()
    assert_answers_within_a_second(endpoint)


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\xff" * 5000, b"\0" * 64, b""], ids=range(4))
def test_what_does_not_speak_zmq_does_no_harm(serve, data):
    endpoint = serve()
    with socket.create_connection((endpoint.host, endpoint.port), timeout=5) as raw:
        with contextlib.suppress(ConnectionError):
            raw.sendall(data)
        assert_answers_within_a_second(endpoint)


def test_a_peer_that_answers_garbage_is_no_silent_one(peer, signals):
    endpoint = Endpoint(HOST, free_port())
    context = zmq.Context()
    raw = context.socket(zmq.REP)
    raw.setsockopt(zmq.LINGER, 1000)
    raw.setsockopt(zmq.RCVTIMEO, 5000)
    raw.bind(f"tcp://{endpoint}")
    replies = [b"\xff", b'{"ok": false}']

    def answer():
        for reply in replies:
            raw.recv()
            raw.send(reply)

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        first = signals.ask({endpoint: PING}, 3.0)[endpoint]
        second = signals.ask({endpoint: PING}, 3.0)[endpoint]
    finally:
        thread.join(10)
        raw.close()
        context.term()
    assert (first.ok, first.silent, first.error[:18]) == (False, False, "not a valid Reply:")
    assert (second.ok, second.error) == (False, "refused without a reason")


def test_a_port_that_is_taken_is_named():
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"{HOST}:{port}"):
            SignalServer(HOST, port, pong)


def test_stop_gives_the_port_back_at_once():
    port = free_port()
    for _ in range(3):
        server = SignalServer(HOST, port, pong)
        server.start()
        assert_answers_within_a_second(Endpoint(HOST, port))
        began_s = time.monotonic()
        server.stop()
        assert time.monotonic() - began_s < 2
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((HOST, port), timeout=1)


def test_stop_is_not_held_up_by_a_reply_that_nobody_takes(peer):
    endpoint = Endpoint(HOST, free_port())
    server = SignalServer(endpoint.host, endpoint.port, lambda _asked: success({"text": "x" * 5_000_000}))
    server.start()
    raw = peer(endpoint)
    raw.send(encode(PING))
    assert raw.poll(5000)
    began_s = time.monotonic()
    server.stop()
    assert time.monotonic() - began_s < 2


def test_a_server_that_was_never_started_can_be_stopped():
    server = SignalServer(HOST, free_port(), pong)
    server.stop()


def test_a_server_listens_on_the_address_that_it_was_given():
    port = free_port()
    server = SignalServer("localhost", port, pong)
    server.start()
    try:
        assert_answers_within_a_second(Endpoint(HOST, port))
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", port), timeout=1)
    finally:
        server.stop()


def test_the_server_looks_round_while_nobody_asks(serve):
    looks = []
    serve(look=lambda: looks.append(1))
    wait_until(lambda: len(looks) >= 3)


def test_close_is_harmless_the_second_time(serve):
    endpoint = serve()
    signals = ZmqSignals()
    assert signals.ask({endpoint: PING}, 2.0)[endpoint].ok
    signals.close()
    signals.close()


def test_asking_leaves_no_file_descriptors_behind(serve, signals):
    endpoint, absent = serve(), Endpoint(HOST, free_port())
    signals.ask({endpoint: PING, absent: PING}, 0.1)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        signals.ask({endpoint: PING, absent: PING}, 0.02)
    wait_until(lambda: len(os.listdir("/proc/self/fd")) <= before + 3)


def test_a_request_is_what_the_answerer_gets(serve, signals):
    heard = []
    endpoint = serve(lambda asked: heard.append(asked) or success())
    signals.ask({endpoint: request("teststop", {"end_offsets": {0: 5}})}, 2.0)
    assert isinstance(heard[0], Request)
    assert (heard[0].signal, bytes(heard[0].arguments)) == ("teststop", b'{"end_offsets":{"0":5}}')
