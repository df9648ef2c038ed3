"""Signals over real sockets: every request gets one reply, whatever it is, and the next good one is answered soon."""

import contextlib
import os
import socket
import threading
import time

import psutil
import pytest
import zmq

from hydra.codec import encode
from hydra.endpoints import Endpoint
from hydra.signals import signal_server, zmq_signals
from hydra.signals.keys import SignalKeys, new_key_pair
from hydra.signals.messages import Request, SignalError, decode_reply, request, success
from hydra.signals.signal_server import SignalServer
from hydra.signals.zmq_signals import ZmqSignals

HOST = "127.0.0.1"
PING = request("ping")
CONTROLLER = new_key_pair()
KEYS = SignalKeys(CONTROLLER)


def task_server(host, port, answer, *, controller=CONTROLLER, own=None, **options):
    return SignalServer(host, port, answer, controller=controller.public_bytes, own=own or new_key_pair(), **options)


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
    monkeypatch.setattr(signal_server, "STOP_POLL_MS", 20)


@pytest.fixture
def serve():
    """Starts servers; all are stopped afterwards, with their threads."""
    servers = []

    def start(answer=pong, **options):
        endpoint = Endpoint(HOST, free_port())
        server = task_server(endpoint.host, endpoint.port, answer, **options)
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
    signals = ZmqSignals(KEYS)
    yield signals
    signals.close()


@pytest.fixture
def peer():
    """Raw sockets of a controller that keeps to no rules; or of a stranger, with other keys or none."""
    with contextlib.ExitStack() as closing:
        context = zmq.Context()
        closing.callback(lambda: context.destroy(linger=0))

        def connect(endpoint, kind=zmq.REQ, keys=CONTROLLER, before=lambda _raw: None):
            raw = context.socket(kind)
            closing.callback(raw.close)
            raw.setsockopt(zmq.LINGER, 0)
            raw.setsockopt(zmq.RCVTIMEO, 5000)
            if keys is not None:
                raw.setsockopt(zmq.CURVE_SERVER, 1)
                raw.setsockopt(zmq.CURVE_PUBLICKEY, keys.public_bytes)
                raw.setsockopt(zmq.CURVE_SECRETKEY, keys.secret_bytes)
            before(raw)
            raw.connect(f"tcp://{endpoint}")
            return raw

        yield connect


def assert_answers_within_a_second(endpoint):
    signals = ZmqSignals(KEYS)
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
    monkeypatch.setattr(signals, "_max_in_flight", 2)
    absent = Endpoint(HOST, free_port())
    there = [serve() for _ in range(4)]
    answers = signals.ask({absent: PING} | dict.fromkeys(there, PING), 1.0)
    assert answers[absent].silent
    assert [answers[endpoint].ok for endpoint in there] == [True] * 4


@pytest.mark.parametrize("first_contact", [True, False])
def test_more_silent_peers_than_sockets_keep_nobody_from_being_asked_again(serve, signals, monkeypatch, first_contact):
    monkeypatch.setattr(signals, "_max_in_flight", 2)
    with contextlib.ExitStack() as closing:
        listening = [closing.enter_context(socket.create_server((HOST, 0))) for _ in range(2)]
        absent = [Endpoint(HOST, each.getsockname()[1]) for each in listening]
        there = [serve() for _ in range(3)]
        requests = dict.fromkeys([*absent, *there], PING)
        answers = signals.ask(requests, 0.2, first_contact=first_contact)
        assert all(answer.silent for answer in answers.values()), "the silent ones had all sockets"
        answers = signals.ask(requests, 1.0, first_contact=first_contact)
    assert [answers[endpoint].ok for endpoint in requests] == [False] * 2 + [True] * 3


def test_more_peers_than_sockets(serve, signals, monkeypatch):
    monkeypatch.setattr(signals, "_max_in_flight", 3)
    endpoints = [serve() for _ in range(7)]
    answers = signals.ask(dict.fromkeys(endpoints, PING), 5.0)
    assert [answers[endpoint].ok for endpoint in endpoints] == [True] * 7


class ProofsUnderWay:
    """How many connections are being proved at a time, by what a controller begins and hears."""

    def __init__(self, signals, monkeypatch):
        self.most, self._under_way = 0, set()
        self._connect, self._wait = signals._connect, zmq_signals._Round.wait
        monkeypatch.setattr(signals, "_connect", self._begin)
        monkeypatch.setattr(zmq_signals._Round, "wait", lambda asked, *given, **named: self._end(asked, given, named))

    def _begin(self, endpoint):
        self._under_way.add(endpoint)
        self.most = max(self.most, len(self._under_way))
        return self._connect(endpoint)

    def _end(self, asked, given, named):
        answered = self._wait(asked, *given, **named)
        self._under_way -= {question.endpoint for question, _reply in answered}
        return answered


@pytest.mark.parametrize("first_contact", [True, False])
def test_a_few_connections_are_proved_at_a_time(serve, signals, monkeypatch, first_contact):
    """With hundreds at once none would be proved in time on a busy machine, and all would begin again."""
    monkeypatch.setattr(zmq_signals, "MAX_HANDSHAKES", 2)
    monkeypatch.setattr(zmq_signals, "CONNECT_S", 60.0)
    proofs = ProofsUnderWay(signals, monkeypatch)
    requests = dict.fromkeys([serve() for _ in range(9)], PING)
    assert all(answer.ok for answer in signals.ask(requests, 10.0, first_contact=first_contact).values())
    assert proofs.most == 2
    (gone, *_), rest = requests, dict.fromkeys(list(requests)[1:], PING)
    signals._forget(gone)
    assert signals.ask({gone: PING, **rest}, 10.0)[gone].ok, "the others are connected, and one is not"


def test_peers_that_prove_nothing_do_not_keep_others_from_being_asked(serve, signals, monkeypatch):
    """Where nobody listens, and where somebody listens who says nothing."""
    monkeypatch.setattr(zmq_signals, "MAX_HANDSHAKES", 2)
    monkeypatch.setattr(zmq_signals, "PROVE_S", 0.1)
    with contextlib.ExitStack() as closing:
        mute = [closing.enter_context(socket.create_server((HOST, 0))) for _ in range(4)]
        absent = [Endpoint(HOST, free_port()) for _ in range(6)]
        absent += [Endpoint(HOST, each.getsockname()[1]) for each in mute]
        there = [serve() for _ in range(3)]
        answers = signals.ask(dict.fromkeys([*absent, *there], PING), 1.5, first_contact=True)
    assert [answers[endpoint].ok for endpoint in there] == [True] * 3
    assert not any(answers[endpoint].ok for endpoint in absent)


def test_connected_peers_are_all_asked_at_once_whatever_is_being_proved(serve, signals, monkeypatch):
    monkeypatch.setattr(zmq_signals, "MAX_HANDSHAKES", 1)
    barrier = threading.Barrier(6, timeout=5)

    def answer(asked):
        if asked.signal == "teststatus":
            barrier.wait()  # none of them answers before all of them were asked
        return pong(asked)

    endpoints = [serve(answer) for _ in range(6)]
    assert all(each.ok for each in signals.ask(dict.fromkeys(endpoints, PING), 10.0).values())
    with socket.create_server((HOST, 0)) as mute:
        absent = Endpoint(HOST, mute.getsockname()[1])
        asked = dict.fromkeys([absent, *endpoints], request("teststatus"))
        answers = signals.ask(asked, 3.0)
    assert [answers[endpoint].ok for endpoint in endpoints] == [True] * 6


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
        server.append(task_server(endpoint.host, endpoint.port, pong))
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
    monkeypatch.setattr(signal_server, "REQUEST_LIMIT_BYTES", 10_000)
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
    own = new_key_pair()
    raw.setsockopt(zmq.CURVE_SERVERKEY, CONTROLLER.public_bytes)
    raw.setsockopt(zmq.CURVE_PUBLICKEY, own.public_bytes)
    raw.setsockopt(zmq.CURVE_SECRETKEY, own.secret_bytes)
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
            task_server(HOST, port, pong)


def test_stop_gives_the_port_back_at_once():
    port = free_port()
    for _ in range(3):
        server = task_server(HOST, port, pong)
        server.start()
        assert_answers_within_a_second(Endpoint(HOST, port))
        began_s = time.monotonic()
        server.stop()
        assert time.monotonic() - began_s < 2
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((HOST, port), timeout=1)


def test_stop_is_not_held_up_by_a_reply_that_nobody_takes(peer):
    endpoint = Endpoint(HOST, free_port())
    server = task_server(endpoint.host, endpoint.port, lambda _asked: success({"text": "x" * 5_000_000}))
    server.start()
    raw = peer(endpoint)
    raw.send(encode(PING))
    assert raw.poll(5000)
    began_s = time.monotonic()
    server.stop()
    assert time.monotonic() - began_s < 2


def test_a_server_that_was_never_started_can_be_stopped():
    server = task_server(HOST, free_port(), pong)
    server.stop()


def test_a_server_listens_on_the_address_that_it_was_given():
    port = free_port()
    server = task_server("localhost", port, pong)
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
    signals = ZmqSignals(KEYS)
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


# Who is heard


def assert_refused_soon(answer, began_s, why):
    assert time.monotonic() - began_s < 2
    assert (answer.ok, answer.silent, answer.refused) == (False, False, True)
    assert why in answer.error


def test_a_controller_with_another_key_is_refused_and_told_so(serve):
    """Also where it has the controller's public key, which anyone may read."""
    heard = []
    endpoint = serve(lambda asked: heard.append(asked) or pong(asked))
    other = new_key_pair()
    for keys in (other, type(other)(CONTROLLER.public, other.secret)):
        stranger = ZmqSignals(SignalKeys(keys))
        began_s = time.monotonic()
        answer = stranger.ask({endpoint: request("teststop")}, 5.0)[endpoint]
        stranger.close()
        assert_refused_soon(answer, began_s, f"refused by {endpoint}: the task there obeys another controller")
    assert heard == []
    assert_answers_within_a_second(endpoint)


@pytest.mark.parametrize("kind", [zmq.REQ, zmq.DEALER, zmq.PUSH, zmq.PUB])
def test_who_has_no_key_is_not_heard(serve, peer, kind):
    heard = []
    endpoint = serve(lambda asked: heard.append(asked.signal) or pong(asked))
    failed, monitors = zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_DISCONNECTED, []
    raw = peer(endpoint, kind, keys=None, before=lambda raw: monitors.append(raw.get_monitor_socket(failed)))
    (monitor,) = monitors
    for _ in range(3):
        with contextlib.suppress(zmq.Again, zmq.ZMQError):
            raw.send(encode(request("teststop")), zmq.DONTWAIT)
    assert monitor.poll(2000), "it is told within two seconds"
    raw.disable_monitor()
    monitor.close(linger=0)
    assert_answers_within_a_second(endpoint)
    assert heard == ["ping"]


def test_what_was_sent_once_cannot_be_sent_again(serve):
    """A recorded connection of the controller's, replayed byte by byte."""
    heard = []
    endpoint = serve(lambda asked: heard.append(asked.signal) or pong(asked))
    with Recorder(endpoint) as recorder:
        signals = ZmqSignals(KEYS)
        assert signals.ask({recorder.endpoint: request("teststop")}, 5.0)[recorder.endpoint].ok
        signals.close()
    assert heard == ["teststop"]
    assert b"CURVE" in recorder.sent
    assert len(recorder.sent) > 300
    with socket.create_connection((endpoint.host, endpoint.port), timeout=5) as raw:
        with contextlib.suppress(OSError):
            raw.sendall(recorder.sent)
            raw.settimeout(1)
            while raw.recv(65536):
                pass
    assert_answers_within_a_second(endpoint)
    assert heard == ["teststop", "ping"]


class Recorder:
    """Forwards one connection to an endpoint, and keeps what is sent there."""

    def __init__(self, target):
        self._target = target
        self._listener = socket.create_server((HOST, 0))
        self.endpoint = Endpoint(HOST, self._listener.getsockname()[1])
        self.sent = b""
        self._threads = [threading.Thread(target=self._forward)]

    def _forward(self):
        near, _ = self._listener.accept()
        far = socket.create_connection((self._target.host, self._target.port))
        back = threading.Thread(target=self._copy, args=(far, near))
        back.start()
        while data := self._receive(near):
            self.sent += data
            far.sendall(data)
        with contextlib.suppress(OSError):
            far.shutdown(socket.SHUT_RDWR)  # a close alone would not wake the thread that reads
        back.join(5)
        far.close()
        near.close()

    def _copy(self, source, target):
        while data := self._receive(source):
            with contextlib.suppress(OSError):
                target.sendall(data)

    @staticmethod
    def _receive(source):
        with contextlib.suppress(OSError):
            return source.recv(65536)
        return b""

    def __enter__(self):
        self._threads[0].start()
        return self

    def __exit__(self, *_error):
        self._threads[0].join(10)
        self._listener.close()


def test_only_the_tasks_of_a_stack_are_believed(serve):
    tasks = new_key_pair()
    true, false = serve(own=tasks), serve()
    signals = ZmqSignals(SignalKeys(CONTROLLER, tasks.public))
    began_s = time.monotonic()
    answers = signals.ask({true: PING, false: PING}, 5.0)
    signals.close()
    assert answers[true].ok
    assert_refused_soon(answers[false], began_s, "it is not the task that was started there")


def test_elsewhere_a_task_is_the_one_that_answered_first(signals):
    endpoint = Endpoint(HOST, free_port())

    def answer_of(text):
        return lambda _asked: success({"from": text})

    first = task_server(endpoint.host, endpoint.port, answer_of("first"))
    first.start()
    assert signals.ask({endpoint: PING}, 2.0, first_contact=True)[endpoint].body == b'{"from":"first"}'
    first.stop()
    second = task_server(endpoint.host, endpoint.port, answer_of("second"))
    second.start()
    try:
        signals.ask({endpoint: PING}, 0.5)  # over the connection to the first one, which is gone
        began_s = time.monotonic()
        answer = signals.ask({endpoint: PING}, 5.0)[endpoint]
        assert_refused_soon(answer, began_s, "it is not the task that was started there")
        assert signals.ask({endpoint: PING}, 2.0, first_contact=True)[endpoint].body == b'{"from":"second"}'
    finally:
        second.stop()


def test_what_listens_and_says_nothing_is_told_within_three_seconds(signals):
    with socket.create_server((HOST, 0)) as mute:
        endpoint = Endpoint(HOST, mute.getsockname()[1])
        began_s = time.monotonic()
        answer = signals.ask({endpoint: PING}, 10.0)[endpoint]
    assert time.monotonic() - began_s < 3
    assert answer.refused
    assert "is no task of Hydra" in answer.error


def copy(source, target):
    with contextlib.suppress(OSError):
        while content := source.recv(4096):
            target.sendall(content)
        target.shutdown(socket.SHUT_WR)


def relay_the_third(listener, endpoint):
    """End two connections, and pass on the next one."""
    for _ in range(2):
        listener.accept()[0].close()
    near, _address = listener.accept()
    with near, socket.create_connection((endpoint.host, endpoint.port), timeout=10) as far:
        back = threading.Thread(target=copy, args=(far, near))
        back.start()
        copy(near, far)
        back.join(10)


def test_a_relay_that_does_not_reach_a_task_at_once_is_no_refusal(serve, signals):
    endpoint = serve()
    for relayed in (False, True):
        with socket.create_server((HOST, 0)) as listener:
            listener.settimeout(10)
            place = Endpoint(HOST, listener.getsockname()[1])
            relay = threading.Thread(target=relay_the_third, args=(listener, endpoint))
            relay.start()
            if not relayed:
                assert signals.ask({place: PING}, 10.0)[place].refused
            with contextlib.closing(ZmqSignals(KEYS, relayed=True)) as patient:
                answer = patient.ask({place: PING}, 10.0)[place]
                assert (answer.ok, answer.body) == (True, b'{"signal":"ping"}')
            relay.join(10)


def test_a_connection_that_proves_nothing_is_closed(serve):
    endpoint = serve()
    with contextlib.ExitStack() as idle:
        half_open = [
            idle.enter_context(socket.create_connection((endpoint.host, endpoint.port), timeout=10)) for _ in range(50)
        ]
        for raw in half_open:
            while raw.recv(4096):  # the greeting, and then the end
                pass
        assert_answers_within_a_second(endpoint)


def test_the_next_request_goes_over_the_same_connection(serve, signals):
    endpoint = serve()
    for _ in range(5):
        assert signals.ask({endpoint: PING}, 2.0)[endpoint].ok
    ports = {
        item.laddr.port for item in psutil.Process().net_connections("tcp")
        if item.raddr and item.raddr.port == endpoint.port and item.status == psutil.CONN_ESTABLISHED
    }  # fmt: skip
    assert len(ports) == 1


def test_a_task_that_would_leave_answers_all_the_same(serve, signals):
    def leave(asked):
        if asked.signal == "getstats":
            raise SystemExit(3)
        return pong(asked)

    endpoint = serve(leave)
    assert signals.ask({endpoint: request("getstats")}, 2.0)[endpoint].error == "SystemExit: 3"
    assert_answers_within_a_second(endpoint)
