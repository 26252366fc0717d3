// Draws the plots that can be seen, in the page's colours, and does what the switches say.
(function () {
  "use strict";
  const specs = JSON.parse(document.getElementById("plots").textContent);
  const material = document.getElementById("switch-material");
  const kase = document.getElementById("switch-case");
  const theme = document.getElementById("switch-theme");
  const drawn = new Set();

  function colours() {
    const probe = getComputedStyle(document.getElementById("grid-colour"));
    return {ink: getComputedStyle(document.body).color, line: probe.color, paper: probe.backgroundColor};
  }

  // Parts of a layout that follow the page, as paths of plotly's relayout.
  function themed(colour) {
    const update = {"font.color": colour.ink, "hoverlabel.bgcolor": colour.paper, "hoverlabel.bordercolor": colour.line,
      "hoverlabel.font.color": colour.ink};
    for (const axis of ["xaxis", "yaxis"]) {
      for (const part of ["gridcolor", "linecolor", "tickcolor"]) update[axis + "." + part] = colour.line;
    }
    return update;
  }

  function inInk(spec) {
    return spec.data.map((trace, index) => (trace.meta === "ink" ? index : -1)).filter((index) => index >= 0);
  }

  function isHidden(element, trace) {
    const figure = element.closest(".figure");
    if (!figure || !trace.meta) return false;
    const box = figure.querySelector('input[data-curve="' + trace.meta + '"]');
    return box !== null && !box.checked;
  }

  function paint(element, colour) {
    const spec = specs[element.dataset.plot];
    Plotly.relayout(element, themed(colour));
    const rows = inInk(spec);
    if (rows.length) Plotly.restyle(element, {"marker.color": colour.ink}, rows);
  }

  function draw(element) {
    const spec = specs[element.dataset.plot];
    const data = spec.data.map((trace) => Object.assign({}, trace, {visible: !isHidden(element, trace)}));
    drawn.add(element);
    Plotly.newPlot(element, data, spec.layout, {displayModeBar: false, responsive: true});
    paint(element, colours());
  }

  function isSeen(element) {
    return element.getClientRects().length > 0;
  }

  function drawSeen() {
    document.querySelectorAll("[data-plot]").forEach(function (element) {
      if (!isSeen(element)) return;
      if (drawn.has(element)) Plotly.Plots.resize(element); else draw(element);
    });
  }

  function choose() {
    document.querySelectorAll("[data-material], [data-case]").forEach(function (element) {
      const own = element.dataset;
      element.hidden = (own.material !== undefined && own.material !== material.value) ||
        (own.case !== undefined && kase.value !== "all" && own.case !== kase.value);
    });
    document.querySelectorAll(".figure .none").forEach(function (note) {
      note.hidden = note.closest(".figure").querySelector(".plot:not([hidden])") !== null;
    });
    document.querySelectorAll(".runs").forEach(function (runs) {
      const shown = runs.querySelectorAll(":scope > .run:not([hidden])");
      if (shown.length && !Array.from(shown).some((run) => run.open)) shown[0].open = true;
    });
    drawSeen();
  }

  function recolour() {
    if (theme.value === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme.value;
    const colour = colours();
    drawn.forEach((element) => paint(element, colour));
  }

  function toggleCurve(box) {
    box.closest(".figure").querySelectorAll("[data-plot]").forEach(function (element) {
      if (!drawn.has(element)) return;
      const rows = specs[element.dataset.plot].data
        .map((trace, index) => (trace.meta === box.dataset.curve ? index : -1)).filter((index) => index >= 0);
      if (rows.length) Plotly.restyle(element, {visible: box.checked}, rows);
    });
  }

  material.addEventListener("change", choose);
  kase.addEventListener("change", choose);
  theme.addEventListener("change", recolour);
  document.querySelectorAll("input[data-curve]").forEach((box) => box.addEventListener("change", () => toggleCurve(box)));
  document.querySelectorAll("details.run").forEach((run) => run.addEventListener("toggle", drawSeen));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolour);
  choose();
  document.documentElement.dataset.ready = "yes";
})();
