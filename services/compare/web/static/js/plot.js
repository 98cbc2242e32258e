// Draws a figure (services/compare/web/figures.py) with uPlot, in the page's own colours, again when the scheme or the width changes.

import uPlot from "../vendor/uplot/uPlot.esm.js";

const HEIGHT = 260;
const dark = matchMedia("(prefers-color-scheme: dark)");

/** A value with its unit, as services/compare/web/numbers.py writes it. */
function inUnit(unit, value) {
  if (value === null || value === undefined) return "—";
  const size = Math.abs(value);
  switch (unit) {
    case "s":
      return inUnit("ms", value * 1000);
    case "ms":
      if (size === 0) return "0";
      return size < 1 ? `${(value * 1000).toFixed(0)} µs` : size < 1000 ? `${+value.toFixed(1)} ms` : `${+(value / 1000).toFixed(2)} s`;
    case "percent":
      return `${+value.toPrecision(4)} %`;
    case "bytes": {
      const units = ["B", "kB", "MB", "GB", "TB"];
      let at = 0;
      for (; Math.abs(value) >= 1000 && at < units.length - 1; at += 1) value /= 1000;
      return `${+value.toFixed(1)} ${units[at]}`;
    }
    case "usd":
      return `$${+value.toPrecision(3)}`;
    case "moment":
      return new Date(value * 1000).toISOString().slice(0, 16).replace("T", " ");
    case "time":
      return new Date(value * 1000).toISOString().slice(11, 19);
    default:
      return value.toLocaleString("en");
  }
}

function colour(element, name) {
  return getComputedStyle(element).getPropertyValue(name).trim();
}

/** Values of a line that have no neighbour: no line would show them. */
function alone(chart, index) {
  const values = chart.data[index];
  const found = [];
  for (let at = 0; at < values.length; at += 1)
    if (values[at] != null && values[at - 1] == null && values[at + 1] == null) found.push(at);
  return found;
}

function series(element, each) {
  const probe = document.createElement("span");
  probe.className = each.path ? `path-${each.path.replaceAll("/", "-")}` : each.number ? `series-${each.number}` : "path-ledger";
  element.append(probe);
  const stroke = colour(probe, "--colour");
  const dash = colour(probe, "--dash");
  probe.remove();
  const drawn = { label: each.label, stroke, width: 1.75, points: { show: each.kind === "points", size: 5, filter: each.kind === "line" ? alone : null }, spanGaps: false };
  if (dash) drawn.dash = dash.split(" ").map(Number).map((length) => length * 2);
  if (each.kind === "steps") drawn.paths = uPlot.paths.stepped({ align: 1 });
  if (each.kind === "bars") {
    drawn.paths = uPlot.paths.bars({ size: [0.8, 60] });
    drawn.fill = stroke;
  }
  if (each.kind === "points") drawn.paths = () => null;
  return drawn;
}

// Seconds between two ticks of time: what a clock shows, and not the round numbers of a count.
const CLOCK = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800];

function axis(element, about, size) {
  const time = about.unit === "time" ? { incrs: [0.001, 0.01, 0.1, ...CLOCK], space: 80 } : {};
  return {
    ...time,
    label: about.label,
    labelSize: 22,
    size,
    stroke: colour(element, "--quiet"),
    font: "12px system-ui, sans-serif",
    labelFont: "12px system-ui, sans-serif",
    grid: { stroke: colour(element, "--line"), width: 1 },
    ticks: { stroke: colour(element, "--line"), width: 1 },
    values: (_, ticks) => ticks.map((tick) => (tick === null ? "" : inUnit(about.unit, tick))),
  };
}

/** Draw one figure element; its data stands in it as JSON. */
export function draw(figure) {
  const data = JSON.parse(figure.querySelector("script").textContent);
  const canvas = figure.querySelector(".canvas");
  let chart = null;
  const make = () => {
    chart?.destroy();
    chart = new uPlot(
      {
        width: Math.max(280, canvas.clientWidth),
        height: HEIGHT,
        ms: 1e-3,
        tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1e3), "Etc/UTC"),
        scales: {
          x: { time: false, distr: data.x.log ? 3 : 1 },
          y: { distr: data.y.log ? 3 : 1 },
        },
        axes: [axis(canvas, data.x, 36), axis(canvas, data.y, 64)],
        series: [
          { label: data.x.label, value: (_, value) => inUnit(data.x.unit, value) },
          ...data.series.map((each) => ({ ...series(canvas, each), value: (_, value) => inUnit(data.y.unit, value) })),
        ],
        cursor: { drag: { x: true, y: false } },
        legend: { live: true },
      },
      [data.xs, ...data.series.map((each) => each.values)],
      canvas,
    );
    // What telemetry named is isolated: it may be written from right to left.
    for (const label of canvas.querySelectorAll(".u-label")) label.dir = "auto";
  };
  make();
  dark.addEventListener("change", make);
  new ResizeObserver(() => {
    const width = Math.max(280, canvas.clientWidth);
    if (chart.width !== width) chart.setSize({ width, height: HEIGHT });
  }).observe(canvas);
}
