"""A headless Chromium that tells what a page asks for, what it complains of, and what it looks like.

Driven over its own protocol (DevTools), with the HTTP client that Hydra has anyway.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import aiohttp
import pytest

DEADLINE_S = 60.0

TRACES = (
    "[...document.querySelectorAll('#%s')].map(p => p.data.map(t => ({name: t.name, x: t.x, y: t.y,"
    " shape: t.line.shape, mode: t.mode})))[0]"
)
"""The traces of a plot, by the plot's id."""


UNREADABLE = """
(() => {
  const found = [];
  for (const plot of document.querySelectorAll('.js-plotly-plot')) {
    const texts = [...plot.querySelectorAll('.xtick text, .ytick text, .xtitle, .ytitle, .legendtext')];
    const boxes = texts.map(t => t.getBoundingClientRect());
    const isSlanted = (text) => /rotate\\([^0]/.test(text.getAttribute('transform') || '');
    const isTick = (text, axis) => text.closest(`.${axis}tick`);
    boxes.forEach((a, i) => boxes.slice(i + 1).forEach((b, j) => {
      if (isTick(texts[i], 'x') && isTick(texts[i + 1 + j], isSlanted(texts[i]) ? 'x' : 'y')) return;
      const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      if (wide > 1 && high > 4) found.push(`${plot.id}: ${texts[i].textContent} and ${texts[i + 1 + j].textContent}`);
    }));
    if ([...plot.querySelectorAll('.legend .scrollbar')].some(bar => Number(bar.getAttribute('height')) > 0))
      found.push(`${plot.id}: the legend is cut off`);
  }
  return found;
})()
"""
"""Texts of plots that lie on each other, and legends that show only a part of their names.

Where the axes meet, the first number of the one may touch that of the other; of slanted texts only the boxes touch."""


def find_chromium() -> str | None:
    """Debian's package, or one under a name of its other builds; None where there is none."""
    return next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
    )


class Tab:
    """One page of a running Chromium."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._asked = 0
        self.requests: list[str] = []
        """Every address that the page asked for, its own included."""
        self.complaints: list[str] = []
        """Errors and warnings on the console, exceptions, and what its policy refused."""
        self._answers: dict[int, asyncio.Future[dict]] = {}
        self._loaded = asyncio.Event()
        self._reader = asyncio.create_task(self._read())

    async def close(self) -> None:
        self._reader.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._reader
        await self._socket.close()

    async def _read(self) -> None:
        async for message in self._socket:
            event = json.loads(message.data)
            if "id" in event:
                self._answers.pop(event["id"]).set_result(event)
                continue
            method, given = event["method"], event["params"]
            if method == "Network.requestWillBeSent":
                self.requests.append(given["request"]["url"])
            elif method == "Runtime.exceptionThrown":
                self.complaints.append(str(given["exceptionDetails"]))
            elif method == "Log.entryAdded":
                self.complaints.append(given["entry"]["text"])
            elif method == "Runtime.consoleAPICalled" and given["type"] in {"error", "warning", "assert"}:
                self.complaints.append(str(given["args"]))
            elif method == "Page.loadEventFired":
                self._loaded.set()

    async def ask(self, method: str, **given: object) -> dict:
        """One command, and its result."""
        reply = await self._reply_to(method, **given)
        assert "error" not in reply, (method, reply["error"])
        return reply["result"]

    async def _reply_to(self, method: str, **given: object) -> dict:
        self._asked += 1
        number = self._asked
        self._answers[number] = asyncio.get_running_loop().create_future()
        answer = self._answers[number]
        await self._socket.send_json({"id": number, "method": method, "params": given})
        return await asyncio.wait_for(answer, DEADLINE_S)

    async def run(self, expression: str) -> object:
        """The value of a JavaScript expression in the page."""
        reply = await self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in reply, reply["exceptionDetails"]
        return reply["result"].get("value")

    async def until(self, expression: str, what: str) -> None:
        """Wait until an expression is true."""
        deadline_s = time.monotonic() + DEADLINE_S
        while not await self._holds(expression):
            assert time.monotonic() < deadline_s, what
            await asyncio.sleep(0.02)

    async def _holds(self, expression: str) -> bool:
        """Whether it is true; of a page that goes to another one just now it is not, yet."""
        reply = await self._reply_to("Runtime.evaluate", expression=f"!!({expression})", returnByValue=True)
        if "error" in reply:
            assert reply["error"]["code"] == -32000, reply["error"]  # the page was left before it answered
            return False
        assert "exceptionDetails" not in reply["result"], reply["result"]["exceptionDetails"]
        return reply["result"]["result"]["value"]

    async def open(self, path: Path | str, *, width: int = 1280, height: int = 900, dark: bool = False) -> float:
        """Open a file, or an address; returns the seconds until the plots in view are drawn."""
        for domain in ("Network", "Runtime", "Log", "Page"):
            await self.ask(f"{domain}.enable")
        await self.ask("Performance.enable", timeDomain="threadTicks")
        await self.look(width=width, height=height, dark=dark)
        self._loaded.clear()
        began_s = time.monotonic()
        await self.ask("Page.navigate", url=path if isinstance(path, str) else path.as_uri())
        await asyncio.wait_for(self._loaded.wait(), DEADLINE_S)
        # The figures of what is in view are drawn in the next frame after the page has been laid out.
        await self.until(
            "[...document.querySelectorAll('.plot')].filter(p => p.offsetParent && p.getBoundingClientRect().top"
            " < innerHeight).every(p => p.querySelector('.main-svg'))",
            "the plots in view are drawn",
        )
        return time.monotonic() - began_s

    async def busy_s(self) -> float:
        """CPU time of the page's main thread since it began to load: what opening costs on a machine of its own."""
        metrics = (await self.ask("Performance.getMetrics"))["metrics"]
        return next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration")

    async def look(self, *, width: int, height: int = 900, dark: bool = False) -> None:
        """Width, height and colour scheme of the screen."""
        await self.ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = "dark" if dark else "light"
        await self.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    async def draw_all(self) -> None:
        """Have every plot drawn, also those that are not in view."""
        await self.run("window.dispatchEvent(new Event('beforeprint'))")
        await self.until(
            "[...document.querySelectorAll('.plot')].filter(p => p.offsetParent)"
            ".every(p => p.querySelector('.main-svg'))",
            "all plots are drawn",
        )

    async def picture(self, path: Path, *, whole: bool = True) -> None:
        """A picture of the page (PNG)."""
        reply = await self.ask(
            "Page.captureScreenshot", format="png", captureBeyondViewport=whole, **await self._clip(whole)
        )
        path.write_bytes(base64.b64decode(reply["data"]))

    async def _clip(self, whole: bool) -> dict:
        if not whole:
            return {}
        size = (await self.ask("Page.getLayoutMetrics"))["cssContentSize"]
        return {"clip": {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}}

    async def paper(self, path: Path) -> None:
        """The page as it is printed (PDF)."""
        reply = await self.ask("Page.printToPDF", printBackground=False, paperWidth=8.27, paperHeight=11.69)
        path.write_bytes(base64.b64decode(reply["data"]))


class Chromium:
    """A running Chromium, in which every page is opened in a tab of its own."""

    def __init__(self) -> None:
        chromium = find_chromium()
        assert chromium is not None
        # Not in a test's own folder: a socket in it needs a short path.
        self._profile = Path(tempfile.mkdtemp(prefix="hydra-browser-"))
        self._process = subprocess.Popen(
            [
                chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
                "--disable-extensions", "--hide-scrollbars", "--remote-debugging-port=0",
                f"--user-data-dir={self._profile}", "about:blank",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, "HOME": str(self._profile), "TMPDIR": str(self._profile)},
        )  # fmt: skip

    def close(self) -> None:
        """End it with all its processes."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)
        shutil.rmtree(self._profile, ignore_errors=True)

    @contextlib.asynccontextmanager
    async def tab(self):
        """A new page, which shares nothing with the others; it is closed with the block."""
        port = await _port(self._profile / "DevToolsActivePort", self._process)
        async with aiohttp.ClientSession() as session:
            async with session.put(f"http://127.0.0.1:{port}/json/new?about:blank") as reply:
                target = await reply.json()
            page = Tab(await session.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0))
            try:
                yield page
            finally:
                await page.close()
                async with session.get(f"http://127.0.0.1:{port}/json/close/{target['id']}") as reply:
                    await reply.text()


async def _port(file: Path, process: subprocess.Popen) -> int:
    deadline_s = time.monotonic() + DEADLINE_S
    while True:
        with contextlib.suppress(OSError):
            if match := re.match(r"(\d+)\n", file.read_text()):
                return int(match[1])
        assert process.poll() is None, f"Chromium ended with {process.returncode}"
        assert time.monotonic() < deadline_s, "Chromium said no port"
        await asyncio.sleep(0.05)


@pytest.fixture(scope="session")
def look_at():
    """Opens a file or an address and has a scenario look at it; all files are opened in one Chromium.

    ``look_at(file, scenario, **given)``: a scenario is a coroutine function of the tab and of the seconds that opening
    took, and what it returns is returned; for the others see ``Tab.open``.
    """
    started: list[Chromium] = []

    def look(file: Path | str, scenario, **given: object):
        if not started:
            started.append(Chromium())

        async def looking():
            async with started[0].tab() as opened:
                seconds = await opened.open(file, **given)
                return await scenario(opened, seconds)

        return asyncio.run(looking())

    yield look
    for chromium in started:
        chromium.close()
