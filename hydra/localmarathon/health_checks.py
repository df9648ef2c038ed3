"""Health checks: what an app asks for, one look at a task, and what came of all looks so far."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from hydra.localmarathon.json_fields import JsonFields, Number
from hydra.localmarathon.timestamps import format_timestamp, utc_now

_PROTOCOLS = ("HTTP", "HTTPS", "TCP", "COMMAND", "MESOS_HTTP", "MESOS_HTTPS", "MESOS_TCP")
_KNOWN_FIELDS = frozenset(
    {
        "protocol", "path", "portIndex", "port", "command", "gracePeriodSeconds", "intervalSeconds", "timeoutSeconds",
        "maxConsecutiveFailures", "delaySeconds", "ignoreHttp1xx", "ipProtocol",
    }
)  # fmt: skip


@dataclass(frozen=True)
class HealthCheck:
    """One check of an app, with the defaults filled in."""

    protocol: str = "HTTP"
    path: str = "/"
    port_index: int = 0
    port: int | None = None  # in place of one of the task's own
    command: str | None = None
    grace_s: Number = 300
    interval_s: Number = 60
    timeout_s: Number = 20
    max_failures: int = 3  # 0: never kill
    delay_s: Number = 15
    ignore_1xx: bool = False

    def document(self) -> dict[str, object]:
        """The JSON object in ``healthChecks``."""
        where: dict[str, object] = {"portIndex": self.port_index} if self.port is None else {"port": self.port}
        if self.protocol == "COMMAND":
            where = {"command": {"value": self.command}}
        elif "HTTP" in self.protocol:
            where |= {"path": self.path, "ignoreHttp1xx": self.ignore_1xx}
        return {
            "protocol": self.protocol,
            **where,
            "gracePeriodSeconds": self.grace_s,
            "intervalSeconds": self.interval_s,
            "timeoutSeconds": self.timeout_s,
            "maxConsecutiveFailures": self.max_failures,
            "delaySeconds": self.delay_s,
        }


@dataclass
class Health:
    """What one check has found of one task; no look yet is no opinion."""

    instance_id: str
    alive: bool | None = None
    consecutive_failures: int = 0
    first_success: str | None = None
    last_success: str | None = None
    last_failure: str | None = None
    last_cause: str | None = None
    announced: bool | None = None  # what listeners to events know of

    def note(self, failure: str | None, *, in_grace: bool) -> None:
        """One more look: None is a success; a failure before the first success does not count within the grace."""
        now = format_timestamp(utc_now())
        if failure is None:
            self.alive, self.consecutive_failures, self.last_success = True, 0, now
            self.first_success = self.first_success or now
        elif self.first_success is not None or not in_grace:
            self.alive, self.last_failure, self.last_cause = False, now, failure
            self.consecutive_failures += 1

    def document(self) -> dict[str, object]:
        """The JSON object in ``healthCheckResults``."""
        moments = {
            "firstSuccess": self.first_success,
            "lastSuccess": self.last_success,
            "lastFailure": self.last_failure,
            "lastFailureCause": self.last_cause,
        }
        return {
            "instanceId": self.instance_id,
            "alive": bool(self.alive),
            "consecutiveFailures": self.consecutive_failures,
            **{name: moment for name, moment in moments.items() if moment is not None},
        }


@dataclass(frozen=True)
class Patient:
    """What a check looks at."""

    host: str
    ports: tuple[int, ...]
    sandbox: Path
    environment: Mapping[str, str]


def read_health_checks(app: JsonFields, port_count: int) -> tuple[HealthCheck, ...]:
    """``healthChecks``; faults are noted in ``app``."""
    return tuple(_read_check(check, port_count) for check in app.objects("healthChecks"))


def _read_check(check: JsonFields, port_count: int) -> HealthCheck:
    check.refuse_unknown(_KNOWN_FIELDS)
    if check.text("ipProtocol") not in (None, "IPv4"):
        check.broken("ipProtocol", "the local Marathon checks over IPv4")
    protocol = check.text("protocol") or "HTTP"
    if protocol not in _PROTOCOLS:
        check.broken("protocol", f"must be one of: {', '.join(repr(name) for name in _PROTOCOLS)}")
    index = check.whole("portIndex", 0, minimum=0)
    port = check.whole("port", 0, minimum=1, maximum=65535) if check.get("port") is not None else None
    if protocol != "COMMAND" and port is None and index >= port_count:
        check.broken("portIndex", "Health check port indices must address an element of the ports array")
    command = None
    if protocol == "COMMAND":
        command = JsonFields(check.get("command") or {}, f"{check.path}/command", check.violations).text("value")
        if not command:
            check.broken("command", "must not be empty")
    return HealthCheck(
        protocol=protocol,
        path=check.text("path") or "/",
        port_index=index,
        port=port,
        command=command,
        grace_s=check.number("gracePeriodSeconds", 300, minimum=0),
        interval_s=check.number("intervalSeconds", 60, minimum=0.01),
        timeout_s=check.number("timeoutSeconds", 20, minimum=0.01),
        max_failures=check.whole("maxConsecutiveFailures", 3, minimum=0),
        delay_s=check.number("delaySeconds", 15, minimum=0),
        ignore_1xx=check.flag("ignoreHttp1xx", default=False),
    )


async def watch(check: HealthCheck, patient: Patient, health: Health, on_look: Callable[[], None]) -> None:
    """Look again and again, until cancelled; ``on_look`` is called after each look."""
    loop = asyncio.get_running_loop()
    grace_ends_s = loop.time() + check.grace_s
    await asyncio.sleep(check.delay_s)
    while True:
        next_s = loop.time() + check.interval_s
        failure = await look(check, patient)
        health.note(failure, in_grace=loop.time() < grace_ends_s)
        on_look()
        await asyncio.sleep(max(0.0, next_s - loop.time()))


async def look(check: HealthCheck, patient: Patient) -> str | None:
    """One look: why the task is not healthy, None if it is."""
    # Not asyncio.wait_for: before Python 3.12 it forgets that it was cancelled if the look ends in the same moment; the
    # task would be watched on, and its end waited for without end.
    looking = asyncio.get_running_loop().create_task(_look(check, patient))
    try:
        done, _pending = await asyncio.wait({looking}, timeout=check.timeout_s)
        return looking.result() if done else f"no answer within {check.timeout_s} s"
    except (OSError, ValueError, aiohttp.ClientError) as error:
        return str(error) or type(error).__name__
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)  # it ends what it began


async def _look(check: HealthCheck, patient: Patient) -> str | None:
    if check.protocol == "COMMAND":
        return await _run(check.command or "", patient)
    port = check.port if check.port is not None else patient.ports[check.port_index]
    if "TCP" in check.protocol:
        _reader, writer = await asyncio.open_connection(patient.host, port)
        writer.close()
        return None
    scheme = "https" if "HTTPS" in check.protocol else "http"
    # As Marathon's own, a check over TLS asks who answers, not who signed for it.
    connector = aiohttp.TCPConnector(ssl=False)
    url = f"{scheme}://{patient.host}:{port}/{check.path.lstrip('/')}"
    async with aiohttp.ClientSession(connector=connector) as session, session.get(url, allow_redirects=False) as answer:
        return None if 200 <= answer.status < 400 else f"HTTP {answer.status}"


async def _run(command: str, patient: Patient) -> str | None:
    process = await asyncio.create_subprocess_exec(
        "/bin/sh",
        "-c",
        command,
        cwd=patient.sandbox,
        env=dict(patient.environment),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        code = await process.wait()
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):  # it has ended, and the event loop has not heard of it yet
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    return None if code == 0 else f"Command exited with status {code}"
