"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const SVG = "http://www.w3.org/2000/svg";
  const WIDTH = 600, HEIGHT = 240, LINES = 6;
  const text = (value, digits = 3) => value == null ? "–" : Number(value.toPrecision(digits)).toLocaleString("en");
  const whole = (value) => value == null ? "–" : Math.round(value).toLocaleString("en");
  const compact = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });
  const element = (name, content, className) => {
    const made = document.createElement(name);
    if (content != null) made.textContent = content;
    if (className) made.className = className;
    return made;
  };

  // Counts become rates between one moment and the next; each copy of a record is one delivery.
  const rate = (moments, of) => moments.map((now, index) => {
    const before = index ? moments[index - 1] : { elapsed_s: 0, sent: 0, acked: 0, delivered: 0, copies: 1 };
    const seconds = now.elapsed_s - before.elapsed_s;
    return seconds > 0.2 ? (of(now) - of(before)) / seconds : null;
  });

  // [value or null] of each moment by the line's name; the plot's least top; whether its axis is logarithmic.
  const plots = (picture) => {
    const moments = picture.moments;
    const figure = (name) => moments.map((moment) => moment.figures[name]);
    return {
      rates: { lines: {
        "sent": rate(moments, (m) => m.sent),
        "acked": rate(moments, (m) => m.acked),
        "delivered to each client": rate(moments, (m) => m.delivered / m.copies),
      } },
      latency: { log: true, limits: picture.plan ? picture.plan.latency_limits : [], lines: {
        "p50": figure("e2e_p50_ms"), "p99": figure("e2e_p99_ms"), "max": figure("e2e_max_ms"),
      } },
      backlog: { lines: { "backlog": moments.map((moment) => moment.backlog) } },
      cpu: { top: 100, lines: {
        "publisher": figure("publisher_cpu_percent"),
        "all subscribers": figure("subscriber_cpu_percent_sum"),
        "busiest subscriber": figure("subscriber_cpu_percent_max"),
        "broker": figure("broker_cpu_percent"),
        "machine [% of all]": figure("machine_cpu_percent"),
      } },
    };
  };

  // Round numbers for grid lines, LINES at most: multiples of one step; on a logarithmic axis 1, 2, 5, 10, 20 and so on.
  const ticksOf = (low, high, log) => {
    const found = [];
    if (!log) {
      const power = 10 ** Math.floor(Math.log10(high / LINES));
      const step = [1, 2, 5, 10].map((digit) => digit * power).find((each) => each * LINES >= high);
      for (let count = 0; count * step <= high; count++) found.push(count * step);
      return found;
    }
    for (let power = Math.floor(Math.log10(low)); 10 ** power <= high; power++) {
      for (const digit of [1, 2, 5]) found.push(digit * 10 ** power);
    }
    const shown = found.filter((value) => value >= low && value <= high);
    return shown.filter((_, index) => index % Math.ceil(shown.length / LINES) === 0);
  };

  const drawPlot = (id, plot, moments, end_s) => {
    const place = byId(id);
    const values = Object.values(plot.lines).flat().filter((value) => value != null && (!plot.log || value > 0));
    // A logarithmic axis has no zero: towards it there are ticks without end.
    for (const [, limit] of plot.limits || []) if (!plot.log || limit > 0) values.push(limit);
    let high = Math.max(plot.top || 0, ...values, 1) * 1.1;
    let low = plot.log ? Math.min(...values, high) / 1.5 : 0;
    const scale = plot.log ? Math.log : (value) => value;
    const y = (value) => HEIGHT * (1 - (scale(Math.max(value, low || 0)) - scale(low)) / (scale(high) - scale(low)));
    const x = (seconds) => WIDTH * seconds / end_s;
    place.replaceChildren();
    const path = (d, className) => {
      const made = document.createElementNS(SVG, "path");
      made.setAttribute("d", d);
      made.setAttribute("class", className);
      place.append(made);
    };
    const box = place.parentElement;
    for (const old of box.querySelectorAll(".axis")) old.remove();
    const drawn = place.getBoundingClientRect();
    const above = drawn.top - box.getBoundingClientRect().top;
    const label = (top, content, className = "axis") => {
      const made = element("span", content, className);
      made.style.top = `${above + drawn.height * top / HEIGHT}px`;
      box.append(made);
    };
    for (const value of values.length ? ticksOf(low, high, plot.log) : []) {
      path(`M0 ${y(value)}H${WIDTH}`, "grid");
      label(y(value), compact.format(value));
    }
    for (const [, limit, name] of plot.limits || []) {
      path(`M0 ${y(limit)}H${WIDTH}`, "limit");
      label(y(limit), name, "axis limit");
    }
    if (values.length) label(HEIGHT, `${text(end_s)} s`, "axis end");
    const legend = byId(`${id}_legend`);
    legend.replaceChildren();
    Object.entries(plot.lines).forEach(([name, line], index) => {
      if (!line.some((value) => value != null)) return;
      let d = "", pen = false;
      line.forEach((value, at) => {
        if (value == null) return;
        d += `${pen ? "L" : "M"}${x(moments[at].elapsed_s).toFixed(1)} ${y(value).toFixed(1)}`;
        pen = true;
      });
      path(d, `c${index}`);
      const last = line.filter((value) => value != null).at(-1);
      const entry = element("span");
      entry.append(element("i", null, `c${index}`), `${name} ${text(last)}`);
      legend.append(entry);
    });
  };

  const drawCards = (picture) => {
    const moments = picture.moments, now = moments.at(-1);
    const cards = [];
    if (now) {
      const last = (line) => line.filter((value) => value != null).at(-1);
      const of = (name) => last(moments.map((moment) => moment.figures[name]));
      const left = picture.plan ? Math.max(0, picture.plan.duration_s - now.elapsed_s) : null;
      const asked = picture.plan ? ` of ${text(picture.plan.rate_per_s)}` : "";
      cards.push(["time left", left == null ? "–" : `${text(left)} s`],
        ["sent", `${whole(now.sent)} of ${whole(now.planned)}`],
        ["records/s sent", `${text(last(rate(moments, (m) => m.sent)))}${asked}`],
        ["deliveries", whole(now.delivered)],
        ["backlog", whole(now.backlog)],
        ["p99 now", `${text(of("e2e_p99_ms"))} ms`],
        ["p99 so far", `${text(of("so_far_p99_ms"))} ms`],
        ["highest so far", `${text(of("so_far_max_ms"))} ms`]);
      if (now.clients_missing) cards.push(["clients missing", whole(now.clients_missing)]);
    }
    byId("cards").replaceChildren(...cards.map(([name, value]) => {
      const card = element("div", null, "card");
      card.append(element("b", value), element("span", name, "soft"));
      return card;
    }));
  };

  const drawTables = (picture) => {
    byId("runs_section").hidden = !picture.runs.length;
    byId("runs").tBodies[0].replaceChildren(...picture.runs.map((run) => {
      const row = element("tr");
      row.append(element("td", run.label), element("td", run.verdict, run.verdict),
        element("td", text(run.sent_per_s, 4), "number"), element("td", text(run.e2e_p99_ms), "number"),
        element("td", whole(run.lost), "number"), element("td", run.limit, "long"));
      return row;
    }).reverse());
    byId("events").tBodies[0].replaceChildren(...picture.events.map((event) => {
      const row = element("tr");
      row.append(element("td", new Date(event.unix_time_s * 1000).toLocaleTimeString("en-GB"), "number"),
        element("td", event.kind === "phase" ? `phase: ${event.text}` : event.text, "long"));
      return row;
    }).reverse());
  };

  let picture = null;
  const draw = () => {
    if (!picture || document.hidden) return;
    byId("phase").textContent = picture.over ? "Over" : picture.phase || "starting";
    byId("detail").textContent = picture.over ? "The result is where the run was started." : picture.detail;
    byId("limit").hidden = !picture.limit_so_far;
    byId("limit").textContent = `Limit so far: ${picture.limit_so_far}`;
    byId("heading").textContent = picture.plan ? picture.plan.heading : "";
    document.title = `Hydra: ${picture.over ? "over" : picture.phase}`;
    const end_s = Math.max(1, picture.plan ? picture.plan.duration_s : 0, ...picture.moments.map((m) => m.elapsed_s));
    for (const [id, plot] of Object.entries(plots(picture))) drawPlot(id, plot, picture.moments, end_s);
    drawCards(picture);
    drawTables(picture);
    document.documentElement.dataset.drawn = String(picture.moments.length);
  };

  const source = new EventSource("events");
  source.addEventListener("message", (message) => {
    picture = JSON.parse(message.data);
    if (picture.over) {
      source.close();
      if (byId("stop")) byId("stop").hidden = true;
      if (picture.report) {
        location.replace("report");
        return;
      }
    }
    draw();
  });
  source.addEventListener("error", () => {
    if (picture && picture.over) return;
    byId("phase").textContent = "No connection: the run has ended, or its process is gone";
  });
  document.addEventListener("visibilitychange", draw);
  addEventListener("resize", draw);
  if (byId("stop")) byId("stop").addEventListener("click", () => {
    if (!confirm("Stop, as Ctrl-C does? What was started is taken down, and the run has no result.")) return;
    byId("stop").disabled = true;
    fetch("stop", { method: "POST", headers: { "Content-Type": "application/json" }, body: "{}" });
  });
})();
