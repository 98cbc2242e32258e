// Draws a service map (services/compare/web/vendors/xray/graphs.py, map_document) as SVG, laid out with dagre, left to right.
// Nodes are links: the keyboard reaches them, and without this module the tables beside the map have the same ones.

import { Graph, layout } from "../vendor/dagre/dagre.esm.js";
import { columns } from "./layers.js";

const SVG = "http://www.w3.org/2000/svg";
// The ring stands above the middle of a node's box, for its lines of text stand below.
const NODE = { width: 140, height: 128 };
const RING = 30;
const RAISED = 26;
const LINE = 14;
// Up to here dagre takes less than a second.
const DAGRE_NODES = 80;
const DAGRE_EDGES = 160;

function element(name, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) if (value !== undefined && value !== false) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

const cut = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

/** The arc of a ring from one share of it to another; a whole ring is a circle. */
function arc(from, to, name) {
  if (to - from > 0.9999) return element("circle", { class: `share outcome-${name}`, r: RING, cx: 0, cy: 0 });
  const at = (share) => [RING * Math.sin(2 * Math.PI * share), -RING * Math.cos(2 * Math.PI * share)].map((each) => each.toFixed(2)).join(" ");
  return element("path", { class: `share outcome-${name}`, d: `M ${at(from)} A ${RING} ${RING} 0 ${to - from > 0.5 ? 1 : 0} 1 ${at(to)}` });
}

function node(about, place) {
  const texts = element("g", { "aria-hidden": "true" });
  texts.append(element("text", { y: 4, class: "small" }, about.average || (about.client ? "client" : "—")));
  texts.append(element("text", { y: RING + 22, class: "name" }, cut(about.name, 19)));
  if (!about.client) texts.append(element("text", { y: RING + 36, class: "small" }, cut(about.kind, 24)));
  texts.append(element("text", { y: RING + 50, class: "small" }, about.figures.join(" · ")));
  // The link lies above what is written and says the same in words.
  const link = element("a", {
    href: about.href,
    class: `map-node${about.client ? " client" : about.known ? "" : " inferred"}`,
    "aria-label": about.words,
    "aria-current": about.chosen && "true",
  });
  link.append(element("circle", { class: "halo", r: RING + 9, cx: 0, cy: 0 }), element("circle", { class: "body", r: RING + 5, cx: 0, cy: 0 }));
  const total = about.shares.reduce((sum, [, count]) => sum + count, 0);
  let at = 0;
  for (const [name, count] of about.shares) {
    link.append(arc(at, at + count / total, name));
    at += count / total;
  }
  link.append(element("rect", { class: "hit", x: -NODE.width / 2, y: -RING - 8, width: NODE.width, height: NODE.height - 4 }));
  return element("g", { class: "map-place", transform: `translate(${place.x} ${place.y - RAISED})` }, link, texts);
}

/** Where the line from a ring towards a point leaves it. */
function border(place, towards, gap) {
  const from = { x: place.x, y: place.y - RAISED };
  const length = Math.hypot(towards.x - from.x, towards.y - from.y) || 1;
  const share = (RING + gap) / length;
  return { x: from.x + (towards.x - from.x) * share, y: from.y + (towards.y - from.y) * share };
}

function path(source, target, points) {
  const between = points.slice(1, -1).map(({ x, y }) => ({ x, y: y - RAISED }));
  if (between.length === 0) between.push({ x: (source.x + target.x) / 2, y: (source.y + target.y) / 2 - RAISED });
  const first = border(source, between[0], 6);
  const rest = [...between, border(target, between.at(-1), 8)];
  // Through the middles, bent at dagre's points: no corner, and within the hull of what dagre kept free.
  let d = `M ${first.x} ${first.y}`;
  rest.forEach((point, index) => {
    const next = rest[index + 1];
    d += next ? ` Q ${point.x} ${point.y} ${(point.x + next.x) / 2} ${(point.y + next.y) / 2}` : ` L ${point.x} ${point.y}`;
  });
  return d;
}

function edge(about, place, source, target) {
  const group = element("g", { class: `map-edge worst-${about.worst}${about.link ? " link" : ""}`, "aria-hidden": "true" });
  group.append(element("path", { d: path(source, target, place.points), "marker-end": "url(#map-arrow)" }));
  if (about.figures.length > 0) {
    const lines = about.figures;
    const width = Math.max(...lines.map((line) => line.length)) * 6.2 + 8;
    const top = place.y - RAISED - (lines.length * LINE) / 2;
    group.append(element("rect", { class: "ground", x: place.x - width / 2, y: top, width, height: lines.length * LINE, rx: 3 }));
    lines.forEach((line, index) => group.append(element("text", { x: place.x, y: top + LINE * index + 10.5 }, line)));
  }
  return group;
}

/** Where everything is: by dagre, whose time grows with the square of the graph and more, where it is quick. */
function placed(data) {
  if (data.nodes.length > DAGRE_NODES || data.edges.length > DAGRE_EDGES) {
    return columns(data.nodes.length, data.edges.map((each) => [each.from, each.to]), NODE, { x: 110, y: 18 });
  }
  const graph = new Graph({ multigraph: true });
  graph.setGraph({ rankdir: "LR", nodesep: 18, ranksep: 46, edgesep: 12, marginx: 16, marginy: 16 });
  graph.setDefaultEdgeLabel(() => ({}));
  data.nodes.forEach((_, index) => graph.setNode(String(index), { ...NODE }));
  data.edges.forEach((each, index) => {
    const lines = each.figures.length;
    graph.setEdge(String(each.from), String(each.to), { width: lines ? 64 : 1, height: Math.max(1, lines) * LINE, labelpos: "c" }, String(index));
  });
  layout(graph);
  return {
    nodes: data.nodes.map((_, index) => graph.node(String(index))),
    edges: data.edges.map((each, index) => graph.edge(String(each.from), String(each.to), String(index))),
    width: graph.graph().width,
    height: graph.graph().height,
  };
}

/** Draw one figure element; its data stands in it as JSON. */
export function draw(figure) {
  const data = JSON.parse(figure.querySelector("script").textContent);
  const { nodes, edges, width, height } = placed(data);
  const svg = element("svg", { width: Math.ceil(width), height: Math.ceil(height), viewBox: `0 0 ${Math.ceil(width)} ${Math.ceil(height)}` });
  svg.append(
    element("defs", {}, element("marker", { id: "map-arrow", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 8, markerHeight: 8, orient: "auto" },
      element("path", { class: "map-arrow", d: "M 0 0.5 L 8 4 L 0 7.5 z" }))),
    ...data.edges.map((each, index) => edge(each, edges[index], nodes[each.from], nodes[each.to])),
    ...data.nodes.map((each, index) => node(each, nodes[index])),
  );
  figure.querySelector(".canvas").replaceChildren(svg);
  figure.classList.add("drawn");
}

for (const figure of document.querySelectorAll("[data-service-map]")) draw(figure);
