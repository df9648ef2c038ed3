"""Signals as bytes: what travels comes back as it was, what is wrong is refused and never breaks the peer."""

import contextlib
import json

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hydra.accounting.latency import FINE_BITS, LatencyCounts
from hydra.accounting.stats import PublisherStats, PublisherStatus, SubscriberStats, SubscriberStatus
from hydra.codec import DecodeError, decode, encode, to_builtins
from hydra.endpoints import Endpoint
from hydra.options.order import ClientAssignment, PartitionLeader, PartitionStart, RunOrder
from hydra.signals import messages as signals
from hydra.signals.messages import DrainTo, Ping, Reply, Request, SignalError

TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
WHOLE = st.integers(0, 2**62)
FLOATS = st.floats(0, 1e15)
for plain, strategy in ((str, TEXTS), (int, WHOLE), (float, FLOATS)):
    st.register_type_strategy(plain, strategy)


@st.composite
def histograms(draw):
    bits, held = draw(st.integers(1, FINE_BITS)), draw(st.dictionaries(st.integers(0, 60), WHOLE, max_size=4))
    return LatencyCounts(bits, tuple(held), tuple(held.values()), draw(WHOLE), draw(WHOLE))


st.register_type_strategy(LatencyCounts, histograms())

TRAVELLING = (
    RunOrder,
    PublisherStats,
    PublisherStatus,
    SubscriberStats,
    SubscriberStatus,
    DrainTo,
    Ping,
)

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize("kind", TRAVELLING)
@settings(max_examples=20)
@given(data=st.data())
def test_what_travels_comes_back_as_it_was(kind, data):
    fact = data.draw(st.from_type(kind))
    assert decode(encode(fact), kind) == fact
    asked = signals.decode_request(encode(signals.request("updateconfig", fact)))
    assert decode(asked.arguments, kind) == fact
    answered = signals.decode_reply(signals.success(fact))
    assert answered.ok
    assert decode(answered.result, kind) == fact


@pytest.mark.parametrize("name", signals.SIGNAL_NAMES)
def test_every_signal_is_a_request(name):
    asked = signals.decode_request(json.dumps({"signal": name}).encode())
    assert asked == Request(name)
    assert bytes(asked.arguments) == b"{}"


def test_the_seven_signals():
    assert set(signals.SIGNAL_NAMES) == {
        "ping", "teststart", "teststop", "teststatus", "getstats", "resetstats", "updateconfig",
    }  # fmt: skip


NO_CLOCK = {"monotonic_s": 0.0, "wall_s": 0.0, "boot_id": ""}


def test_the_bytes_are_the_documented_json():
    assert json.loads(encode(signals.request("teststop", DrainTo({0: 5})))) == {
        "signal": "teststop",
        "arguments": {"end_offsets": {"0": 5}},
    }
    assert json.loads(signals.success()) == {"ok": True, "result": {}}
    assert json.loads(signals.success(Ping("t", "kafka-pub", "1"))) == {
        "ok": True,
        "result": {"task_id": "t", "role": "kafka-pub", "version": "1", "run_id": "", "clock": NO_CLOCK},
    }
    assert json.loads(signals.failure("no")) == {"ok": False, "error": "no"}


@pytest.mark.parametrize(
    "data",
    [
        b"", b" ", b"ping", b"null", b"[]", b"3", b'"ping"', b"{}", b"{", b'{"signal": "ping"', b'{"signal": "ping"}}',
        b'{"signal": "stop"}', b'{"signal": "PING"}', b'{"signal": null}', b'{"signal": ["ping"]}', b'{"signal": 1}',
        b'{"signal": "\\ud800"}', b'{"signal": "\xff"}', b"\xff\xfe\x00", b"\x80\x04\x95.", b"\0" * 100,
        b"{'signal': 'ping'}", b"[" * 100_000, b'{"a":' * 100_000, b'{"signal": "ping", "arguments": ' + b"[" * 100_000,
        b'{"signal": "ping", "arguments": NaN}', b'{"signal": "ping", "arguments": }',
    ],
    ids=range(27),
)  # fmt: skip
def test_what_is_no_request_is_refused(data):
    with pytest.raises(DecodeError, match=r"^not a valid Request: ") as caught:
        signals.decode_request(data)
    assert signals.decode_reply(signals.failure(str(caught.value))).error == str(caught.value)


@pytest.mark.parametrize(
    "data", [b'{"ok": 1}', b'{"ok": "yes"}', b"{}", b"[" * 100_000, b'{"ok": true, "error": 3}', b"\xff"]
)
def test_what_is_no_reply_is_refused(data):
    with pytest.raises(DecodeError, match=r"^not a valid Reply: "):
        signals.decode_reply(data)


def test_what_is_too_large_is_refused_without_being_read(monkeypatch):
    monkeypatch.setattr(signals, "REQUEST_LIMIT_BYTES", 100)
    monkeypatch.setattr(signals, "REPLY_LIMIT_BYTES", 200)
    with pytest.raises(SignalError, match="a request of 101 bytes: the limit is 100"):
        signals.decode_request(b"[" * 101)
    with pytest.raises(SignalError, match="a reply of 201 bytes: the limit is 200"):
        signals.decode_reply(b"[" * 201)


@pytest.mark.parametrize(
    ("kind", "arguments", "named"),
    [
        (DrainTo, b"{}", "end_offsets"),
        (DrainTo, b'{"end_offsets": {"x": 1}}', "end_offsets"),
        (DrainTo, b'{"end_offsets": {"0": "1"}}', "end_offsets"),
        (DrainTo, b'{"end_offsets": {"0": 1.5}}', "end_offsets"),
        (DrainTo, b'{"end_offsets": [1]}', "end_offsets"),
        (DrainTo, b'{"end_offsets": {"0": null}}', "end_offsets"),
        (RunOrder, b'{"run_id": 3}', "run_id"),
        (RunOrder, b'{"run_id": "r"}', "options"),
        (RunOrder, b'{"run_id": "r", "options": {"msg_rate": "1"}}', "msg_rate"),
        (PublisherStatus, b'{"phase": "done", "acked": "7"}', "acked"),
        (Ping, b'{"task_id": "t", "role": "king", "version": "1"}', "role"),
    ],
)
def test_a_wrong_field_is_named(kind, arguments, named):
    with pytest.raises((SignalError, DecodeError)) as caught:
        decode(msgspec.Raw(arguments), kind)
    assert str(caught.value).startswith(f"not a valid {kind.__name__}: ")
    assert named in str(caught.value)


@given(st.binary(max_size=300))
def test_random_bytes_are_refused_and_nothing_else(data):
    for read in (signals.decode_request, signals.decode_reply, lambda it: decode(it, RunOrder)):
        with contextlib.suppress(SignalError, DecodeError):
            read(data)


@given(JSON_VALUES, st.sampled_from(TRAVELLING))
def test_random_json_is_refused_and_nothing_else(value, kind):
    data = json.dumps(value).encode()
    with contextlib.suppress(SignalError, DecodeError):
        decode(data, kind)
    with contextlib.suppress(SignalError, DecodeError):
        signals.decode_request(data)
    asked = signals.decode_request(json.dumps({"signal": "updateconfig", "arguments": value}).encode())
    with contextlib.suppress(SignalError, DecodeError):
        decode(asked.arguments, kind)


@given(st.text())
@example("\udcff is half a surrogate")
def test_any_text_at_all_fits_in_a_refusal(text):
    """Half a surrogate too: paths and host names that are no UTF-8 come as that."""
    answered = signals.decode_reply(signals.failure(text))
    assert not answered.ok
    assert isinstance(answered.error, str)


def test_a_reply_may_be_ok_and_empty():
    assert signals.decode_reply(b'{"ok": true}') == Reply(ok=True)


def test_facts_as_plain_values():
    assignment = ClientAssignment("c", "g", (PartitionStart(0, 3),))
    assert json.loads(json.dumps(to_builtins(assignment))) == {
        "name": "c",
        "group_id": "g",
        "starts": [{"partition": 0, "offset": 3}],
        "task_id": "",
        "paced": True,
    }
    leader = PartitionLeader(0, 1, Endpoint("h", 2))
    assert to_builtins(leader) == {"partition": 0, "node_id": 1, "endpoint": {"host": "h", "port": 2}}
