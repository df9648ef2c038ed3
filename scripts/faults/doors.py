"""The doors by which input comes in: how bad input for each is made, and what it may be answered with."""

from __future__ import annotations

import contextlib
import io
import json
import random
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from crc32c import crc32c
from kafka.record.default_records import DefaultRecordBatchBuilder

import hydra.kafkatest.runtest
from hydra.accounting.tally import ClientTally, PartitionTally
from hydra.cli.main import run
from hydra.clients import wire_consumer_protocol, wire_group_protocol, wire_produce, wire_protocol
from hydra.clients.record_batch import CRC_END, BatchCounter
from hydra.codec import DecodeError, decode, encode
from hydra.errors import BrokerError, HydraError, InfrastructureError
from hydra.localmarathon.app_parser import parse_app
from hydra.localmarathon.errors import RequestRefusedError
from hydra.localmarathon.guard import RequestGuard
from hydra.options.ini import parse_ini
from hydra.options.options import OPTION_KINDS, Options
from hydra.options.order import make_order
from hydra.records.identity import IDENTITY, identity_prefix, run_tag
from hydra.signals.messages import (
    SIGNAL_NAMES,
    DrainTo,
    SignalError,
    StartAt,
    TaskOrder,
    decode_reply,
    decode_request,
    request,
)
from hydra.sweep.plan_file import read_plan_file
from hydra.sweep.record import read_saved
from tests import samples

Chance = random.Random

ODD_TEXTS = (
    "", " ", "0", "-1", "1", "NaN", "inf", "-inf", "1e308", "1e-320", "9" * 400, "\u0663", "\U0001f40d", "\x00", "a\nb",
    "\x1b[31m", "%s", "%(x)s", "${HOME}", "../..", "/", "-", "--", "=", ",", ",,", ":", "h:0", "h:99999", "[::1]:1",
    "http://", "http://x:y", "https://[", "true", "None", "1_000", "0x10", "1,2", "e2e_p99<50ms", "loss==0", "x<", "<5",
    "\udcff", "/dev/zero", "x" * 5000, "a.b", "a=b", "a=b,c", "wire", "confluent", "x.py:Y", "all", "1-", "[", "{", '"',
)  # fmt: skip
RUN_ID = "hydra-20260101-000000-abcdef"


@dataclass(frozen=True)
class Door:
    """One way in."""

    name: str
    share: int
    make: Callable[[Chance], object]
    give: Callable[[object], object]
    """Returns what is counted as the outcome."""
    allowed: tuple[type[BaseException], ...] = ()


DOORS: list[Door] = []


def some_text(chance: Chance) -> str:
    """A text that somebody may have typed, or that nobody would."""
    kind = chance.randrange(6)
    if kind == 0:
        return chance.choice(ODD_TEXTS)
    if kind >= 4:
        return str(chance.randrange(1, 100))
    if kind == 1:
        return str(chance.choice((chance.randrange(-5, 2000), chance.random() * 10 ** chance.randrange(-5, 12))))
    if kind == 2:
        return "".join(
            chr(chance.choice((chance.randrange(32, 127), chance.randrange(0xD800))))
            for _ in range(chance.randrange(12))
        )
    return chance.choice(ODD_TEXTS) + chance.choice(ODD_TEXTS[:30])


def some_json(chance: Chance, depth: int = 0) -> object:
    """Any JSON value."""
    kind = chance.randrange(9 if depth < 4 else 6)
    if kind == 0:
        return some_text(chance).encode(errors="replace").decode()
    if kind <= 2:
        return chance.choice((0, -1, 1, 2**63, -(2**70), 1.5, 1e300, True, False, None, 10**25))
    if kind <= 5:
        return chance.randrange(-3, 70000)
    if kind == 6:
        return [some_json(chance, depth + 1) for _ in range(chance.randrange(4))]
    return {
        chance.choice(("id", "cmd", "a", "", "port", "x\n")): some_json(chance, depth + 1)
        for _ in range(chance.randrange(4))
    }


def changed_json(chance: Chance, value: object) -> object:  # noqa: PLR0911  # one for each type
    """A copy with one place somewhere in it made another."""
    if isinstance(value, dict) and value and chance.random() < 0.9:
        key = chance.choice(sorted(value))
        if chance.random() < 0.1:
            return {name: each for name, each in value.items() if name != key}
        if chance.random() < 0.05:
            return {**value, some_text(chance).encode(errors="replace").decode(): some_json(chance)}
        return {**value, key: changed_json(chance, value[key])}
    if isinstance(value, list) and value and chance.random() < 0.9:
        at = chance.randrange(len(value))
        return [*value[:at], changed_json(chance, value[at]), *value[at + 1 :]]
    if chance.random() < 0.85:  # of the same type, so that it is not refused at once
        if isinstance(value, bool):
            return not value
        if isinstance(value, int):
            return chance.choice((0, -1, value + 1, value * 10, -value, 2**31, 2**62))
        if isinstance(value, float):
            return chance.choice((0.0, -1.0, value * 10, -value, 1e300, 5e-324, 0.5))
        if isinstance(value, str):
            return some_text(chance).encode(errors="replace").decode()
    return some_json(chance)


def changed_bytes(chance: Chance, content: bytes) -> bytes:
    """A copy with bytes changed, cut or put in."""
    out = bytearray(content)
    for _ in range(chance.randrange(1, 5)):
        at = chance.randrange(len(out) + 1)
        kind = chance.randrange(6)
        if kind == 0:
            del out[at:]
        elif kind == 1:
            out[at:at] = chance.randbytes(chance.randrange(9))
        elif kind == 2:
            out[at : at + 4] = chance.choice((b"\x7f\xff\xff\xff", b"\xff\xff\xff\xfa", b"\x80\0\0\0", b"\0\0\0\0"))
        elif kind == 3:
            out[at : at + 2] = chance.choice((b"\xff\xfa", b"\x80\0", b"\x7f\xff", b"\xff\xfe"))
        elif out:
            out[at % len(out)] = chance.randrange(256)
    return bytes(out)


# Flags. No run begins: what would start one ends with exit code 4.


class NoRun:
    """In place of the runner."""

    def __init__(self, *_arguments: object, **_named: object) -> None:
        raise InfrastructureError("no run here")


hydra.kafkatest.runtest.RunTestKAFKA = NoRun  # type: ignore[assignment,misc]

COMMANDS = (
    ("kafka",), ("kafka",), ("kafka", "sweep", "--no_such_flag"), ("kafka", "maxrate", "--rate_max=x"), ("show",),
    ("report",), ("compare",), ("cli",), ("cli", "stop"), ("local", "nothing"), ("x",), (), ("show", "a", "b"),
    ("report", "a", "-o"), ("clean", "--older_than=0"), ("marathon", "--port=-1"), ("smoke", "--msg_rate=x"),
    ("doctor", "--msg_rate=x"),
)  # fmt: skip


def _arguments(chance: Chance) -> object:
    given = list(chance.choice(COMMANDS))
    names = sorted(OPTION_KINDS)
    for _ in range(chance.randrange(4)):
        name = chance.choice(names) if chance.random() < 0.9 else some_text(chance)
        text = some_text(chance)
        given.append(f"--{name}={text}" if chance.random() < 0.9 else f"--{name}")
    return given


def _command(given: object) -> object:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        code = run(list(given))  # type: ignore[call-overload]
    assert code in {0, 2, 4}, f"exit code {code}: {printed.getvalue()[-500:]}"
    assert "Traceback" not in printed.getvalue()
    return code


DOORS.append(Door("flags", 25, _arguments, _command))


# hydra.ini and plan files

INI = """[kafka]\nbootstrap_servers = k:9092\nacks = all\npartitions = 6\n[hydra]\ntotal_sub_apps = 10\nmsg_rate = 2000
threshold = loss==0, e2e_p99<50ms\n[marathon]\nurl = local\napp_prefix = g1\n[mesos]\ncluster0 = rack.a\n"""
SECTIONS = ("[kafka]", "[marathon]", "[hydra]", "[mesos]", "[DEFAULT]", "[", "[]", "[x]]", "junk")


def _ini(chance: Chance) -> object:
    if chance.random() < 0.2:
        return changed_bytes(chance, INI.encode()).decode(errors="surrogateescape")
    lines = []
    for _ in range(chance.randrange(1, 4)):
        lines.append(chance.choice(SECTIONS if chance.random() < 0.3 else SECTIONS[:4]))
        for _ in range(chance.randrange(3)):
            name = chance.choice((*OPTION_KINDS, "ip", "port", "url", "x", ""))
            lines.append(f"{name}{chance.choice((' = ', '=', ':', ''))}{some_text(chance)}")
    return chance.choice(("\n", "\n", "\r\n", "\n ")).join(lines)


DOORS.append(
    Door("hydra.ini", 20, _ini, lambda text: type(parse_ini(str(text), name="hydra.ini")).__name__, (HydraError,))
)

PLAN = """repeats = 2\nzip = false\n[options]\ntest_duration = 1\nacks = "all"\n[sweep]\nlinger_ms = [5, 20]
clients = [1, 20]
[[point]]\nmsg_rate = 100\n"""


def _plan(chance: Chance) -> object:
    if chance.random() < 0.3:
        return changed_bytes(chance, PLAN.encode())
    lines = [f"repeats = {json.dumps(some_json(chance))}"] if chance.random() < 0.2 else []
    for table in chance.sample(("[options]", "[sweep]", "[[point]]", "[x]"), chance.randrange(1, 4)):
        lines.append(table)
        for name in chance.sample((*OPTION_KINDS, "clients", "x"), chance.randrange(4)):
            one = chance.choice(
                (json.dumps(some_json(chance)), "1979-05-27", "inf", "{a = 1}", '"x"', *map(str, range(1, 9)))
            )
            many = chance.choice(
                (str(list(range(1, chance.choice((2, 4, 1000))))), '["all", "1"]', "[1, [2]]", "[true]")
            )
            lines.append(f"{name} = {many if table == '[sweep]' else one}")
    return "\n".join(lines).encode(errors="surrogateescape")


def _give_plan(content: object) -> object:
    Path("plan.toml").write_bytes(content)  # type: ignore[arg-type]
    return type(read_plan_file("plan.toml")).__name__


DOORS.append(Door("plan files", 15, _plan, _give_plan, (HydraError,)))


# Result files: read, and sometimes shown

SAVED = [
    json.loads(encode(samples.run())),
    json.loads(encode(samples.sweep([{"clients": 10}, {"clients": 20}], repeats=2))),
]
SAVED_BYTES = [encode(each) for each in SAVED]


def _saved(chance: Chance) -> object:
    if chance.random() < 0.2:
        return changed_bytes(chance, chance.choice(SAVED_BYTES))
    value: object = chance.choice(SAVED)
    for _ in range(chance.randrange(1, 4)):
        value = changed_json(chance, value)
    with contextlib.suppress(UnicodeEncodeError):
        return json.dumps(value).encode()
    return b"{"


def _read_saved(content: object) -> object:
    return type(read_saved(content, name="r.json")).__name__  # type: ignore[arg-type]


def _show(content: object) -> object:
    Path("r.json").write_bytes(content)  # type: ignore[arg-type]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        code = run(["show", "r.json"])
        again = run(["report", "r.json", "--csv=r.csv", "--junit=r.xml"])
    assert code in {0, 1, 2, 3, 4, 129, 130, 131, 143}, f"exit code {code}: {printed.getvalue()[-500:]}"
    assert again in {0, 2, 4}, f"exit code {again} of report: {printed.getvalue()[-500:]}"
    return code


DOORS += [
    Door("result files", 15, _saved, _read_saved, (HydraError,)),
    Door("results shown", 3, _saved, _show),
]


# Signals

ORDER = make_order(RUN_ID, Options(), bootstrap_servers="127.0.0.1:9", task_ids=["a", "b"], cores=2)
SIGNALS = [encode(request(name)) for name in SIGNAL_NAMES] + [encode(request("updateconfig", TaskOrder(ORDER)))]
KINDS: dict[str, type] = {"updateconfig": TaskOrder, "teststart": StartAt, "teststop": DrainTo}


def _signal(chance: Chance) -> object:
    content = chance.choice(SIGNALS)
    kind = chance.randrange(4)
    if kind == 0:
        return changed_bytes(chance, content)
    if kind == 1:
        return chance.choice((b"[" * 3000, b'{"signal":' * 2000, b"\xff" * 99, b"", b"null", chance.randbytes(60)))
    value = json.loads(content)
    for _ in range(chance.randrange(1, 4)):
        value = changed_json(chance, value)
    return json.dumps(value).encode()


def _give_signal(content: object) -> object:
    with contextlib.suppress(SignalError, DecodeError):
        decode_reply(content)  # type: ignore[arg-type]
    found = decode_request(content)  # type: ignore[arg-type]
    decode(found.arguments, KINDS.get(found.signal, dict))
    return found.signal


DOORS.append(Door("signals", 25, _signal, _give_signal, (SignalError, DecodeError, HydraError)))


# The HTTP API of the local Marathon

APP = {
    "id": "/g1/x", "cmd": "sleep 1", "instances": 1, "cpus": 0.1, "mem": 32, "env": {"A": "b"}, "labels": {"a": "b"},
    "constraints": [["hostname", "UNIQUE"]], "fetch": [{"uri": "http://x/y"}], "portDefinitions": [{"port": 0}],
    "upgradeStrategy": {"minimumHealthCapacity": 1}, "backoffSeconds": 1, "backoffFactor": 1.15, "container": {},
    "networks": [{"mode": "host"}], "uris": [], "unreachableStrategy": "disabled", "killSelection": "YOUNGEST_FIRST",
    "acceptedResourceRoles": ["*"], "taskKillGracePeriodSeconds": 3, "requirePorts": False, "args": None, "user": "me",
}  # fmt: skip
GUARD = RequestGuard("127.0.0.1", "secret-token")


def _app(chance: Chance) -> object:
    value: object = APP
    for _ in range(chance.randrange(1, 5)):
        value = changed_json(chance, value)
    return value


def _headers(chance: Chance) -> object:
    names = ("Host", "Origin", "Sec-Fetch-Site", "Authorization", "Content-Type")
    texts = ("127.0.0.1:80", "localhost", "[::1", "]", "Basic", "Basic !!!", "Bearer ", "Basic OnNlY3JldA==", "null")
    return {name: chance.choice((*texts, some_text(chance))) for name in names if chance.random() < 0.7}


def _check(headers: object) -> object:
    GUARD.check(headers, has_body=True)  # type: ignore[arg-type]
    raise AssertionError("nobody has the token")


DOORS += [
    Door("HTTP bodies", 20, _app, lambda app: type(parse_app(app, own_user="me")).__name__, (RequestRefusedError,)),
    Door("HTTP headers", 10, _headers, _check, (RequestRefusedError,)),
]


# Brokers' answers


def _text(text: bytes) -> bytes:
    return wire_protocol.string(text)


_I = struct.Struct(">i").pack
METADATA = b"".join((
    bytes(4), _I(1), _I(1), _text(b"k"), _I(9092), _text(b""), _I(1), _I(1), b"\0\0", _text(b"t"), b"\0", _I(1),
    struct.pack(">hii", 0, 0, 1), _I(1), _I(1), _I(1), _I(1),
))  # fmt: skip
FETCH = b"".join((
    bytes(4), _I(0), b"\0\0", _I(0), _I(1), _text(b"t"), _I(2),
    *(struct.pack(">ihqqqii", number, 0, 9, 9, 0, 0, -1) + _I(4) + b"abcd" for number in range(2)),
))  # fmt: skip
FETCH_ONE = b"".join((
    bytes(4), _I(0), b"\0\0", _I(0), _I(1), _text(b"t"), _I(1),
    struct.pack(">ihqqqii", 0, 0, 9, 9, 0, -1, -1), _I(4), b"abcd",
))  # fmt: skip
FETCH_REQUEST = wire_protocol.FetchRequest("c", 11, "t", [PartitionTally(0, 0)], 100)
PRODUCED = bytes(4) + _I(1) + _text(b"t") + _I(1) + struct.pack(">ihqqq", 0, 0, 5, -1, 0)
JOINED = bytes(8) + b"\0\0" + _I(3) + _text(b"range") + _text(b"m") + _text(b"m") + _I(1) + _text(b"m") + _I(2) + b"xy"
SYNCED = bytes(4) + b"\0\0" + _I(40) + b"\0\0" + _I(1) + _text(b"t") + _I(2) + _I(0) + _I(1) + _I(0)
COMMITTED = bytes(4) + _I(1) + _text(b"t") + _I(1) + struct.pack(">iq", 0, 5) + _text(b"") + b"\0\0"
COORDINATOR = bytes(4) + b"\0\0" + _I(1) + _text(b"host") + _I(9092)
_ASSIGNED = b"\2" + bytes(16) + b"\3" + _I(0) + _I(1) + b"\0\0"
BEAT = bytes(5) + bytes(6) + b"\0\2m" + _I(3) + _I(5000) + b"\1" + _ASSIGNED + b"\0"
COMMITTED_9 = bytes(5) + _I(0) + b"\2\2g\2\2t\2" + struct.pack(">iqi", 0, 5, -1) + b"\1\0\0\0\0\0\0\0\0"
COMMIT_9 = bytes(5) + _I(0) + b"\2\2t\2" + _I(0) + b"\0\0\0\0\0"
_NAMED = b"\2" + bytes(16) + b"\2t\2" + _I(0) + b"\0\0"
DESCRIBED = b"".join((
    bytes(5), _I(0), b"\2\0\0\0\2g\7Stable", _I(4), _I(4), b"\2u\2\2m\0\0", _I(3), b"\2c\2h\2\2t\0", _NAMED, _NAMED,
    b"\0", _I(0), b"\0\0",
))  # fmt: skip
VERSIONS = bytes(4) + struct.pack(">hi", 0, 3) + struct.pack(">hhh", 0, 3, 9) * 3
OFFSETS = bytes(4) + _I(1) + _text(b"t") + _I(1) + struct.pack(">ihqq", 0, 0, -1, 7)
READERS: tuple[tuple[bytes, Callable[[bytes], object]], ...] = (
    (METADATA, lambda content: wire_protocol.read_metadata(content, 4)),
    (FETCH, lambda content: wire_protocol.read_fetch_reply(11, content, 4, len(content))),
    (FETCH, lambda content: wire_protocol.read_fetch_reply(4, content, 4, len(content))),
    (FETCH_ONE, lambda content: FETCH_REQUEST.read_reply(content, 4, len(content))),
    (VERSIONS, lambda content: wire_protocol.read_api_versions(content, 4)),
    (OFFSETS, lambda content: wire_protocol.read_list_offsets(content, 4)),
    (PRODUCED, lambda content: wire_produce.read_produce_reply(7, content, 4)),
    (PRODUCED, lambda content: wire_produce.read_init_producer_id(content, 4)),
    (JOINED, lambda content: wire_group_protocol.read_joined(content, 4)),
    (SYNCED, lambda content: wire_group_protocol.read_synced(content, 4, "t")),
    (COMMITTED, lambda content: wire_group_protocol.read_committed(content, 4)),
    (COMMITTED, lambda content: wire_group_protocol.read_commit(content, 4)),
    (COORDINATOR, lambda content: wire_group_protocol.read_coordinator(content, 4)),
    (BEAT, lambda content: wire_consumer_protocol.read_heartbeat(content, 4)),
    (COMMITTED_9, lambda content: wire_consumer_protocol.read_committed(content, 4)),
    (COMMIT_9, lambda content: wire_consumer_protocol.read_commit(content, 4)),
    (DESCRIBED, lambda content: wire_consumer_protocol.read_described(content, 4)),
)


def _answer(chance: Chance) -> object:
    number = chance.randrange(len(READERS))
    return number, changed_bytes(chance, READERS[number][0])


def _read(given: object) -> object:
    number, content = given  # type: ignore[misc]
    READERS[number][1](content)
    return "read"


def _batch(codec: int) -> bytes:
    builder = DefaultRecordBatchBuilder(2, codec, 0, -1, -1, -1, 100_000)
    for at in range(8):
        builder.append(at, 1000, None, IDENTITY.pack(run_tag(RUN_ID), 1, at), [])
    return bytes(builder.build())


BATCHES = [_batch(codec) for codec in (0, 1, 2, 3, 4)]


def _batches(chance: Chance) -> object:
    content = bytearray(changed_bytes(chance, chance.choice(BATCHES)))
    if len(content) > CRC_END and chance.random() < 0.8:  # as a broker would send it that is wrong all the way
        content[17:CRC_END] = struct.pack(">I", crc32c(bytes(content[CRC_END:])))
        content[8:12] = _I(len(content) - 12)
    return content


def _count(content: object) -> object:
    client = ClientTally("c", identity_prefix(RUN_ID), [(0, 0)])
    counter = BatchCounter(identity_prefix(RUN_ID))
    size = len(content)  # type: ignore[arg-type]
    return bool(counter.count(content, 0, size, client.partitions[0], client))  # type: ignore[arg-type]


DOORS += [
    Door("broker answers", 25, _answer, _read, (*wire_protocol.MALFORMED, BrokerError)),
    Door("record batches", 15, _batches, _count, (BrokerError,)),
]
