"use strict";
(() => {
  const stored = (id) => JSON.parse(document.getElementById(id).textContent);
  const common = stored("common");
  const figures = stored("figures");
  const settings = {
    responsive: true,
    displaylogo: false,
    displayModeBar: matchMedia("(hover: hover)").matches ? "hover" : false,
    modeBarButtonsToRemove: ["lasso2d", "select2d"],
  };

  const layoutOf = (own) => {
    const layout = { ...common, ...own };
    for (const axis of ["xaxis", "yaxis"]) layout[axis] = { ...common[axis], ...own[axis] };
    return layout;
  };
  const draw = (place) => {
    const figure = figures[place.dataset.figure];
    if (!figure) return;
    place.dataset.drawn = "yes";
    Plotly.react(place, figure.data, layoutOf(figure.layout), settings);
  };

  // A plot is drawn when it comes into view: a page with many points opens as fast as one with few.
  const places = [...document.querySelectorAll(".plot")];
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      watcher.unobserve(entry.target);
      if (!entry.target.dataset.drawn) draw(entry.target);
    }
  }, { rootMargin: "300px" });
  places.forEach((place) => watcher.observe(place));

  // Paper has no view to come into, and another width.
  const fit = () => {
    for (const place of places) {
      if (place.offsetParent === null) continue;
      if (place.dataset.drawn) Plotly.Plots.resize(place); else draw(place);
    }
  };
  window.addEventListener("beforeprint", () => {
    for (const closed of document.querySelectorAll("details")) closed.open = true;
    fit();
  });
  window.addEventListener("afterprint", fit);

  const choice = document.getElementById("point");
  if (!choice) return;
  const show = () => {
    const chosen = stored(`point-${Number(choice.value)}`);
    document.getElementById("chosen").textContent = choice.selectedOptions[0].textContent;
    for (const place of places) {
      if (!place.dataset.detail) continue;
      figures[place.dataset.figure] = chosen[place.dataset.detail];
      place.parentElement.hidden = !chosen[place.dataset.detail];
      if (place.dataset.drawn) draw(place);
    }
  };
  choice.value = choice.dataset.first;
  choice.addEventListener("change", show);
  show();
})();
