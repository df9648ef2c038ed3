"use strict";
(() => {
  const stored = (id) => JSON.parse(document.getElementById(id).textContent);
  const figures = stored("figures");
  const settings = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["lasso2d", "select2d"] };
  const draw = (place, figure) => {
    place.dataset.drawn = "yes";
    Plotly.react(place, figure.data, figure.layout, settings);
  };
  const places = [...document.querySelectorAll(".plot[data-figure]")];
  const ensure = (place) => {
    if (!place.dataset.drawn && figures[place.dataset.figure]) draw(place, figures[place.dataset.figure]);
  };
  // A plot is drawn when it comes into view: a page with many opens as fast as one with few.
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (entry.isIntersecting) { watcher.unobserve(entry.target); ensure(entry.target); }
    }
  }, { rootMargin: "300px" });
  places.forEach((place) => watcher.observe(place));
  const all = () => places.forEach((place) => { if (place.offsetParent !== null) { ensure(place); Plotly.Plots.resize(place); } });
  window.addEventListener("beforeprint", all);
  window.addEventListener("afterprint", all);

  const choice = document.getElementById("point");
  if (!choice) return;
  const points = stored("points");
  const show = () => {
    const chosen = points[Number(choice.value)];
    for (const place of document.querySelectorAll(".plot[data-detail]")) {
      const figure = chosen[place.dataset.detail];
      place.parentElement.hidden = !figure;
      if (!figure) continue;
      figures[place.dataset.figure] = figure;
      if (place.dataset.drawn) draw(place, figure);
    }
    for (const text of document.querySelectorAll("[data-point]")) {
      text.hidden = text.dataset.point !== choice.value;
    }
  };
  choice.addEventListener("change", show);
  show();
})();
