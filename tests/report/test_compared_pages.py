"""Comparison, trend and two settings as pages in a real browser: what they show, on every screen."""

import dataclasses
import itertools
import random

import pytest

from hydra.options.options import Options
from hydra.report.comparison_page import comparison_page
from hydra.report.contents import collect
from hydra.report.page import page
from hydra.report.trend_page import trend_page
from hydra.sweep.comparison import compare
from hydra.sweep.plan import sides
from hydra.sweep.trend import trend
from tests.browser import UNREADABLE, find_chromium
from tests.samples import run, sweep

pytestmark = [
    pytest.mark.release,
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium: apt-get install chromium"),
    pytest.mark.timeout(180),
]

HOSTILE = "<img src=x onerror=alert(1)>"


def grid(slower, *, clients=(10, 50, 300, 500), rates=(1000, 1500, 2000, 3000), repeats=9, seed=1):
    """A sweep whose latencies are a share higher at 300 clients."""
    chance = random.Random(seed)

    def of(point, _repeat):
        share = slower if point.options.client_count == clients[-1] else 1.0
        return run(point.options, p50_ms=point.options.client_count * share * chance.uniform(0.95, 1.05))

    options = Options(test_duration=1)
    changes = [{"clients": count, "msg_rate": float(rate)} for count, rate in itertools.product(clients, rates)]
    return sweep(changes, of=of, repeats=repeats, options=options)


def nights(*, points=1, count=20, from_night=13):
    chance = random.Random(3)

    def night(number):
        share = 1.4 if number >= from_night else 1.0
        made = grid(share, clients=range(10, 10 + 10 * points, 10), rates=(1000,), repeats=3, seed=chance.random())
        return dataclasses.replace(made, started_at=f"2026-11-{number:02}T03:17:00.000+00:00")

    return [night(number) for number in range(1, count + 1)]


def two_settings():
    chance = random.Random(5)
    options = Options(total_sub_apps=2, test_duration=1)
    of_side = {"A": 10, "B": 14, "A again": 10}

    def of(point, _repeat):
        return run(point.options, p50_ms=of_side[point.changes["side"]] * chance.uniform(0.95, 1.05))

    made = sweep([{"clients": number} for number in (10, 20, 30)], kind="ab", options=options)
    plan = dataclasses.replace(made.plan, points=sides(options, {"linger_ms": 5.0}, {"linger_ms": 20.0}), repeats=9)
    points = tuple(
        dataclasses.replace(saved, changes=dict(point.changes), runs=tuple(of(point, repeat) for repeat in range(9)))
        for saved, point in zip(made.points, plan.points, strict=True)
    )
    return dataclasses.replace(made, plan=plan, points=points)


def compared(**given):
    found = compare(grid(1.0, **given), grid(1.3, seed=2, **given), tolerance_percent=10)
    return comparison_page(found, names=("yesterday/", HOSTILE), tolerance_percent=10)


PAGES = {
    "one point": lambda: compared(clients=(10,), rates=(1000,)),
    "sixteen points": compared,
    "two hundred points": lambda: compared(clients=range(10, 210, 10), rates=range(1000, 11_000, 1000), repeats=4),
    "trend of a point": lambda: trend_page(trend(nights(), tolerance_percent=10), tolerance_percent=10),
    "trend of four": lambda: trend_page(trend(nights(points=4), tolerance_percent=10), tolerance_percent=10),
    "two settings": lambda: page(collect([("", two_settings())])),
}

TOO_WIDE = (
    "[...document.querySelectorAll('.plot svg.main-svg')].filter(s => s.getBoundingClientRect().right > %d + 1).length"
)


@pytest.mark.parametrize("name", PAGES)
def test_every_page_fits_every_screen(name, tmp_path, look_at):
    file = tmp_path / "page.html"
    file.write_text(PAGES[name]())

    async def scenario(opened, _seconds):
        sideways, unreadable = {}, {}
        for width, dark in ((1280, False), (360, True)):
            await opened.look(width=width, dark=dark)
            await opened.draw_all()
            await opened.until(f"!{TOO_WIDE % width}", f"no plot is wider than {width} pixels")
            sideways[width, dark] = await opened.run(f"document.documentElement.scrollWidth - {width}")
            unreadable[width, dark] = await opened.run(UNREADABLE)
            if name != "two hundred points":  # as long as a tower is high
                await opened.picture(tmp_path / f"{width}-{'dark' if dark else 'light'}.png")
        text = await opened.run("document.body.innerText")
        traces = await opened.run(
            "[...document.querySelectorAll('.js-plotly-plot')].map(p => p.data.map(t => t.name)).flat()"
        )
        marks = await opened.run("[...document.querySelectorAll('.annotation-text')].map(t => t.textContent)")
        images = await opened.run("document.images.length")
        return sideways, unreadable, text, traces, marks, images, opened.requests, opened.complaints

    sideways, unreadable, text, traces, marks, images, requests, complaints = look_at(file, scenario)
    assert set(sideways.values()) == {0}
    assert list(unreadable.values()) == [[], []]
    assert complaints == []
    assert images == 0
    assert {url.partition(":")[0] for url in requests} <= {"file", "data", "blob"}
    if name.startswith("trend"):
        assert "WORSE since 2026-11-13" in text
        assert any(mark.startswith("worse, +") for mark in marks)
        return
    assert HOSTILE in text or name == "two settings"
    assert "no difference shown" in traces
    if name == "two hundred points":  # 4 runs a side show nothing among so many comparisons
        assert "60 of 200 points" in text
        assert "more repeats a side would show a difference of" in text
    else:
        assert {"worse", "would not have been shown"} <= {*traces}
        assert "WORSE" in text
