"""The page in a real browser: what it shows, what it asks for, and what hostile names make of it."""

from __future__ import annotations

import dataclasses
import html
import itertools
import json
import re

import pytest

from hydra.accounting.bottleneck import Bottleneck
from hydra.accounting.evidence import RunEvent
from hydra.accounting.totals import ThresholdOutcome
from hydra.options.options import Options
from hydra.report.contents import collect
from hydra.report.page import page
from hydra.sweep.record import SearchResult
from hydra.sweep.search import SearchAnswer
from tests.browser import TRACES, UNREADABLE, find_chromium
from tests.samples import curve, latencies, result, run, sweep

pytestmark = [
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium: apt-get install chromium"),
    pytest.mark.timeout(180),
]

CLIENTS, RATES = (10, 50, 300, 500), (1000, 1500, 2000, 3000)
HOSTILE = (
    "<img src=x onerror=alert(1)>", "</script><script>alert(1)</script>", '"><svg onload=alert(1)>', "<b>bold</b>",
    "<a href='javascript:alert(1)'>x</a>", "&lt;i&gt;", "]]>--><!--", "\u2028\u2029\0\x1b[31m\u202e", "{{x}}${x}`",
)  # fmt: skip


def grid_of(clients=CLIENTS, rates=RATES, **given):
    changes = [{"clients": count, "msg_rate": float(rate)} for count, rate in itertools.product(clients, rates)]

    def of(point, repeat):
        count, rate = point.options.client_count, point.options.msg_rate
        lost = round(rate * count / 50_000) if count * rate > 400_000 else 0
        verdict = "fail" if lost else "pass"
        return run(
            point.options,
            result(
                verdict,
                clients=count,
                rate=rate,
                lost=lost,
                tx_rate=rate * 0.999,
                p50_ms=2 + count * rate / 50_000,
                seconds=round(point.options.test_duration),
                reasons=(f"{lost} of {count} deliveries were lost",)
                if lost
                else ("every client received every record",),
                seed=repeat + 1,
            ),
        )

    return sweep(changes, of=of, **given)


@pytest.fixture
def look(tmp_path, look_at):
    """Write the page, open it, and have the scenario look at it."""

    def write_and_look(measured, scenario, **given):
        file = tmp_path / "report.html"
        file.write_text(page(measured))
        return look_at(file, scenario, **given)

    return write_and_look


CHOOSE = "(c => {c.value = '%d'; c.dispatchEvent(new Event('change'))})(document.getElementById('point'))"


@pytest.mark.release
def test_the_originals_three_plots_have_four_traces_of_four_points_each(look):
    async def scenario(opened, _seconds):
        await opened.draw_all()
        found = {}
        for key in ("average_rate", "average_packet_loss", "failing_clients_rate"):
            place = f"plot_{key}"
            found[key] = {
                "traces": await opened.run(TRACES % place),
                "texts": await opened.run(f"[...document.querySelectorAll('#{place} text')].map(t => t.textContent)"),
                "points": await opened.run(f"document.querySelectorAll('#{place} .scatterlayer .point').length"),
            }
        return found, opened.requests, opened.complaints

    found, requests, complaints = look(collect([("", grid_of())]), scenario)
    titles = {
        "average_rate": ("Average Client Rate", "Average Rx Rate [pps]"),
        "average_packet_loss": ("Average Packet Loss", "Average Packet Loss [%]"),
        "failing_clients_rate": ("Failing Clients Rate", "Average Failing Clients Rate [pps]"),
    }
    for key, shown in found.items():
        assert [trace["name"] for trace in shown["traces"]] == [f"client_count = {count}" for count in CLIENTS]
        assert {*titles[key], "Average Tx Rate [pps]"} <= set(shown["texts"])
        assert shown["points"] == 16
        for trace in shown["traces"]:
            assert trace["x"] == pytest.approx([rate * 0.999 for rate in RATES])
            assert len(trace["y"]) == 4
            assert (trace["mode"], trace["shape"]) == ("lines+markers", "spline")
    assert [trace["y"][0] for trace in found["failing_clients_rate"]["traces"]] == [0, 0, 0, pytest.approx(999, 1)]
    assert complaints == []
    assert {url.partition(":")[0] for url in requests} <= {"file", "data", "blob"}
    assert sum(url.startswith("file:") for url in requests) == 1


@pytest.mark.release
def test_one_run(look):
    async def scenario(opened, _seconds):
        await opened.draw_all()
        drawn = await opened.run("[...document.querySelectorAll('.plot')].filter(p => p.offsetParent).map(p => p.id)")
        verdict = await opened.run("document.getElementById('verdict').innerText")
        choice = await opened.run("document.getElementById('point').offsetParent === null")
        return drawn, verdict, choice, opened.complaints

    record = run(Options(total_sub_apps=5), notes=("a note",), reasons=("every client received every record",))
    drawn, verdict, hidden, complaints = look(collect([("", record)]), scenario)
    assert drawn == [
        "detail_percentiles", "detail_percentiles_over_time", "detail_heatmap", "detail_rates", "detail_backlog",
        "detail_cpu", "detail_memory", "detail_client_rates", "detail_client_latency",
    ]  # fmt: skip
    assert "PASS: every client received every record" in verdict
    assert "Note: a note" in verdict
    assert hidden
    assert complaints == []


@pytest.mark.release
@pytest.mark.parametrize(
    "measured", [run(error="the broker died"), sweep([{"clients": 10}], of=lambda p, _: run(p.options, error="gone"))]
)
def test_nothing_but_errors(look, measured):
    async def scenario(opened, _seconds):
        await opened.draw_all()
        return await opened.run("document.body.innerText"), opened.complaints

    text, complaints = look(collect([("", measured)]), scenario)
    assert "the broker died" in text or "gone" in text
    assert complaints == []


@pytest.mark.release
def test_two_hundred_points_fit_into_twelve_megabytes_and_only_what_is_seen_is_drawn_at_first(look, tmp_path):
    record = grid_of(clients=range(10, 210, 10), rates=range(1000, 11_000, 1000), options=Options(test_duration=60))
    assert len(record.points) == 200

    async def scenario(opened, seconds):
        busy_s = await opened.busy_s()
        plots = [
            await opened.run(f"document.querySelectorAll('{which}').length")
            for which in (".js-plotly-plot", "[data-figure]")
        ]
        names = await opened.run("document.querySelectorAll('#plot_average_rate .legendtext').length")
        await opened.run(CHOOSE % 199)
        await opened.draw_all()
        shown = await opened.run("document.getElementById('detail_rates').data[0].y[0]")
        rows = await opened.run("document.querySelectorAll('#table tbody tr').length")
        hidden = await opened.run(
            "(t => t.scrollWidth - t.parentElement.clientWidth)(document.getElementById('table'))"
        )
        unreadable = [await opened.run(UNREADABLE)]
        await opened.look(width=420)
        await opened.until(f"!{TOO_WIDE % 420}", "no plot is wider than 420 pixels")
        unreadable.append(await opened.run(UNREADABLE))
        return (seconds, busy_s), plots, (names, shown, rows), (hidden, unreadable), opened.complaints

    found = look(collect([("", record)]), scenario)
    (seconds, busy_s), (drawn, all_plots), (names, shown, rows), (hidden, unreadable), complaints = found
    size = (tmp_path / "report.html").stat().st_size
    print(f"\n200 points: {size / 1e6:.1f} MB, opened in {seconds:.2f} s ({busy_s:.2f} s of CPU)")
    assert size < 12_000_000
    assert 0 < drawn < all_plots
    assert names == 20
    assert shown == pytest.approx(10_000, 0.01)
    assert rows == 200
    assert (hidden, unreadable) == (0, [[], []])
    assert complaints == []


ELEMENTS = (
    "(() => {const n = {};"
    " document.querySelectorAll('*').forEach(e => n[e.tagName] = (n[e.tagName] || 0) + 1); return n})()"
)


def hostile_page(names):
    """A report in which everything that a user or a broker can name has one of these names."""
    options = Options(total_sub_apps=1)

    def of(point, _repeat):
        text = names[point.number % len(names)]
        made = run(point.options, result("fail", lost=1, reasons=(text,), notes=(text,)))
        facts = {"machine": {text: text}, "cluster": {text: text}, "versions": {text: text}}
        options = dataclasses.replace(made.order.options, java=text, app_prefix=text)
        return dataclasses.replace(made, order=dataclasses.replace(made.order, options=options), **facts)

    record = sweep([{"msg_rate": float(rate)} for rate in range(1, 7)], of=of, options=options)
    points = tuple(dataclasses.replace(point, changes={**point.changes, "java": names[0]}) for point in record.points)
    answers = tuple(
        SearchResult(name, name, SearchAnswer(5.0, 6.0, "broker", True, 5, name), clients=index)
        for index, name in enumerate(names, 1)
    )
    record = dataclasses.replace(record, points=points, answers=answers, command=names[1])
    return collect([(names[0], record), (names[1], run(options))])


@pytest.mark.release
def test_hostile_names_put_no_new_element_into_the_page(look):
    async def scenario(opened, _seconds):
        await opened.draw_all()
        await opened.run(CHOOSE % 3)
        # Labels that show up as a pointer passes are texts of the same kind.
        await opened.run("Plotly.Fx.hover('plot_average_rate', [{curveNumber: 0, pointNumber: 0}])")
        await opened.until("document.querySelector('#plot_average_rate .hovertext')", "a label is shown")
        return (
            await opened.run(ELEMENTS),
            await opened.run("document.body.innerText"),
            opened.requests,
            opened.complaints,
        )

    tame = [f"tame{index}" for index in range(len(HOSTILE))]
    before, _, _, _ = look(hostile_page(tame), scenario)
    after, text, requests, complaints = look(hostile_page(list(HOSTILE)), scenario)
    for tag in before.keys() | after.keys():
        if tag.lower() not in {"tspan", "text", "g", "path", "rect"}:  # lines that Plotly breaks, and what it draws
            assert after.get(tag) == before.get(tag), tag
    for tag in ("IMG", "B", "I", "A", "SCRIPT", "svg", "a", "img"):
        assert after.get(tag, 0) == before.get(tag, 0)
    assert "<img src=x onerror=alert(1)>" in text
    assert complaints == []
    assert {url.partition(":")[0] for url in requests} <= {"file", "data", "blob"}


TOO_WIDE = (
    "[...document.querySelectorAll('.plot svg.main-svg')].filter(s => s.getBoundingClientRect().right > %d + 1).length"
)


@pytest.mark.release
def test_it_fits_every_screen_and_can_be_read_by_day_and_night(look, tmp_path):
    """No sideways scrolling; text stands out from the paper by 4.5 to 1 (WCAG AA), in plots, too."""

    async def scenario(opened, _seconds):
        await opened.draw_all()
        seen = {}
        for width, dark in ((360, False), (1280, False), (1280, True), (360, True)):
            await opened.look(width=width, dark=dark)
            await opened.until(f"!{TOO_WIDE % width}", f"no plot is wider than {width} pixels")
            # innerWidth grows with what does not fit.
            sideways = await opened.run(f"document.documentElement.scrollWidth - {width}")
            paper = await opened.run("getComputedStyle(document.documentElement).backgroundColor")
            inks = await opened.run(
                "[...new Set([...document.querySelectorAll('p, td, th, h1, h2, summary')]"
                ".map(e => getComputedStyle(e).color)"
                ".concat([...document.querySelectorAll('.plot text')].map(e => getComputedStyle(e).fill)))]"
            )
            unreadable = await opened.run(UNREADABLE)
            seen[width, dark] = sideways, paper, inks, unreadable
        await opened.picture(tmp_path / "screen.png")
        return seen, opened.complaints

    seen, complaints = look(collect([("", grid_of())]), scenario, width=360)
    for (_width, dark), (sideways, paper, inks, unreadable) in seen.items():
        assert sideways == 0
        assert {contrast(ink, paper) >= 4.5 for ink in inks} == {True}, (paper, inks)
        assert (luminance(paper) < 0.1) is dark
        assert unreadable == []
    assert (tmp_path / "screen.png").stat().st_size > 20_000
    assert complaints == []


LONG = "a-very-long-name-without-any-blank-" * 8


def everything():
    """A run that has all that a page can show: loss, thresholds, events, and every latency."""
    made = result("fail", lost=3, reasons=("3 were lost", LONG), notes=(LONG,))
    thresholds = tuple(
        ThresholdOutcome(f"{metric}<9ms", metric, value, 9.0, "ms", kept=value and value < 9)
        for metric, value in (("e2e_p99", 8.0), ("service_max", 20.0), ("unpaced_p999", None))
    )
    bottleneck = Bottleneck("broker", False, (f"deliveries were late: {LONG}",), (LONG,), part="its request handlers")
    latency = dataclasses.replace(
        made.latency,
        unpaced=latencies(2.0, 5000),
        ack=latencies(1.0, 5000),
        curves=dataclasses.replace(made.latency.curves, unpaced=curve(2.0, 5000), ack=curve(1.0, 5000)),
    )
    made = dataclasses.replace(made, thresholds=thresholds, bottleneck=bottleneck, latency=latency)
    whole = run(Options(total_sub_apps=1, threshold=("e2e_p99<9ms", "service_max<9ms", "unpaced_p999<9ms")), made)
    events = tuple(RunEvent(float(second), f"broker {second} died: {LONG}") for second in range(15))
    return dataclasses.replace(whole, evidence=dataclasses.replace(whole.evidence, events=events))


def interrupted():
    return dataclasses.replace(
        run(Options(total_sub_apps=5), error=f"Ctrl-C {LONG}", exit_code=130), status="interrupted"
    )


def long_names():
    """Points that differ in texts."""
    made = sweep([{"msg_rate": float(rate)} for rate in (1000, 2000, 3000)], options=Options(total_sub_apps=1))
    points = tuple(
        dataclasses.replace(point, changes={**point.changes, "java": f"{LONG}{point.number}"}) for point in made.points
    )
    return dataclasses.replace(made, points=points, command=LONG)


def six_decades():
    """A run whose curve begins at a microsecond, as that from the actual send time does on a clock of milliseconds."""
    made = everything()
    latency = made.result.latency
    curves = dataclasses.replace(latency.curves, service=(0.001, *latency.curves.e2e[1:]), ack=curve(700.0, 5000))
    return dataclasses.replace(
        made, result=dataclasses.replace(made.result, latency=dataclasses.replace(latency, curves=curves))
    )


PAGES = {
    "six decades": lambda: [("", six_decades())],
    "everything": lambda: [("", everything())],
    "interrupted": lambda: [("", interrupted())],
    "no points": lambda: [("", dataclasses.replace(sweep([{"clients": 10}]), points=()))],
    "long names": lambda: [(LONG, long_names()), (f"{LONG}2", long_names())],
    "repeats of a point": lambda: [("", sweep([{"clients": 10}], repeats=3))],
    "sixteen points": lambda: [("", grid_of())],
}


@pytest.mark.release
@pytest.mark.parametrize("name", PAGES)
def test_no_page_is_wider_than_a_narrow_screen_or_has_an_error(look, name):
    async def scenario(opened, _seconds):
        await opened.draw_all()
        found, unreadable = {}, []
        for width in (360, 1280):
            await opened.look(width=width)
            await opened.until(f"!{TOO_WIDE % width}", f"no plot is wider than {width} pixels")
            found[width] = await opened.run(f"document.documentElement.scrollWidth - {width}")
            unreadable += await opened.run(UNREADABLE)
        return (
            found,
            await opened.run("document.querySelectorAll('#cards .card').length"),
            unreadable,
            opened.complaints,
        )

    sideways, shown, unreadable, complaints = look(collect(PAGES[name]()), scenario, width=360)
    assert sideways == {360: 0, 1280: 0}
    assert unreadable == []
    assert shown >= 1
    assert complaints == []


def luminance(colour):
    channels = [int(value) / 255 for value in re.findall(r"\d+", colour)[:3]]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.release
def test_on_paper_every_plot_is_drawn_in_ink(look, tmp_path):
    async def scenario(opened, _seconds):
        await opened.paper(tmp_path / "report.pdf")
        drawn = await opened.run(
            "[...document.querySelectorAll('.plot')].filter(p => p.offsetParent)"
            ".every(p => p.querySelector('.main-svg'))"
        )
        await opened.ask(
            "Emulation.setEmulatedMedia", media="print", features=[{"name": "prefers-color-scheme", "value": "dark"}]
        )
        ink = await opened.run("getComputedStyle(document.querySelector('.plot text')).fill")
        await opened.ask("Emulation.setDeviceMetricsOverride", width=700, height=990, deviceScaleFactor=1, mobile=False)
        beyond = await opened.run("document.getElementById('table').getBoundingClientRect().right - innerWidth")
        return drawn, ink, beyond, opened.complaints

    drawn, ink, beyond, complaints = look(collect([("", grid_of())]), scenario, dark=True)
    assert drawn
    assert luminance(ink) == 0
    assert beyond <= 0
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
    assert complaints == []


def test_two_frontiers_that_found_the_same_rate_are_one_page():
    def found(above):
        answer = SearchResult("a", "records/s", SearchAnswer(9000.0, above, "broker", True, 9), clients=10)
        return dataclasses.replace(sweep([{"clients": 10}], kind="frontier"), answers=(answer,))

    assert "Frontier" in page(collect([("a.json", found(9400.0)), ("b.json", found(9500.0))]))


@pytest.mark.release
def test_the_frontier(look):
    with_interval = SearchAnswer(9000.0, 9400.0, "broker", True, 9, interval=(8800.0, 9600.0))
    answers = (
        SearchResult("a", "records/s", with_interval, clients=10),
        SearchResult("b", "records/s", SearchAnswer(4000.0, 4100.0, "harness", True, 9), clients=50),
        SearchResult("c", "records/s", SearchAnswer(None, 1.0, "broker", False, 9), clients=500),
    )
    record = sweep([{"clients": 10}], kind="frontier")
    record = dataclasses.replace(record, answers=answers)

    async def scenario(opened, _seconds):
        await opened.draw_all()
        traces = await opened.run(
            "document.getElementById('plot_frontier').data"
            ".map(t => ({x: t.x, y: t.y, s: t.marker.symbol,"
            " bars: t.error_y && [t.error_y.array, t.error_y.arrayminus]}))"
        )
        return traces, await opened.run("document.getElementById('verdict').innerText")

    traces, verdict = look(collect([("", record)]), scenario)
    symbols, bars = ["circle", "triangle-up-open"], [[600, 0], [200, 0]]
    assert traces[0] == {"x": [10, 50], "y": [9000, 4000], "s": symbols, "bars": bars}
    assert "8,800 to 9,600 in 95 %" in verdict
    assert traces[1]["y"] == [9400, 4100]
    assert "at least 4,000 records/s" in verdict
    assert html.escape(verdict)
    assert json.dumps(traces)
