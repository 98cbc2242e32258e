// A layout for graphs that dagre would take minutes for: services in columns by how far they are from where requests enter, each near
// those it calls and is called by. Its time grows with the edges, and it minds no crossings; dagre's does neither.

const COLUMN = 30;
const SWEEPS = 4;

/** `edges`: [from, to] by index. Returns the column of each node: one more than that of any that leads to it, circles broken. */
export function layers(count, edges) {
  const out = Array.from({ length: count }, () => []);
  const incoming = new Array(count).fill(0);
  for (const [from, to] of edges) if (from !== to) out[from].push(to);
  for (const [from, to] of edges) if (from !== to) incoming[to] += 1;
  const order = [];
  const state = new Uint8Array(count);
  // Depth first, without recursion: a chain may be longer than the stack. Those that nobody calls come first.
  const starts = [...Array(count).keys()].sort((a, b) => incoming[a] - incoming[b]);
  for (const start of starts) {
    if (state[start]) continue;
    const stack = [[start, 0]];
    state[start] = 1;
    while (stack.length > 0) {
      const top = stack.at(-1);
      const next = out[top[0]][top[1]];
      top[1] += 1;
      if (next === undefined) {
        state[top[0]] = 2;
        order.push(top[0]);
        stack.pop();
      } else if (state[next] === 0) {
        state[next] = 1;
        stack.push([next, 0]);
      }
    }
  }
  const place = new Map(order.reverse().map((node, index) => [node, index]));
  const layer = new Array(count).fill(0);
  for (const node of order) for (const to of out[node]) if (place.get(to) > place.get(node)) layer[to] = Math.max(layer[to], layer[node] + 1);
  return layer;
}

/** Nodes as {x, y}, edges as {x, y, points}, and the width and height of it all. `size`: of a node; `gap`: between two, each way. */
export function columns(count, edges, size, gap) {
  const layer = layers(count, edges);
  const rows = [];
  layer.forEach((at, node) => (rows[at] ??= []).push(node));
  const neighbours = Array.from({ length: count }, () => []);
  for (const [from, to] of edges) {
    neighbours[from].push(to);
    neighbours[to].push(from);
  }
  const rank = new Array(count).fill(0);
  rows.forEach((row) => row.forEach((node, index) => (rank[node] = index / row.length)));
  for (let sweep = 0; sweep < SWEEPS; sweep += 1) {
    for (const row of sweep % 2 ? [...rows].reverse() : rows) {
      const wish = new Map(row.map((node) => [node, neighbours[node].reduce((sum, other) => sum + rank[other], 0) / (neighbours[node].length || 1)]));
      row.sort((a, b) => wish.get(a) - wish.get(b));
      row.forEach((node, index) => (rank[node] = index / row.length));
    }
  }
  const nodes = new Array(count);
  const step = { x: size.width + gap.x, y: size.height + gap.y };
  const height = Math.min(COLUMN, Math.max(1, ...rows.map((row) => row.length))) * step.y + gap.y;
  let left = gap.y + size.width / 2;
  for (const row of rows) {
    for (let first = 0; first < row.length; first += COLUMN) {
      const part = row.slice(first, first + COLUMN);
      const top = (height - (part.length - 1) * step.y) / 2;
      part.forEach((node, index) => (nodes[node] = { x: left, y: top + index * step.y }));
      left += first + COLUMN < row.length ? size.width + gap.y : step.x;
    }
  }
  const middle = (from, to) => ({ x: (from.x + to.x) / 2, y: (from.y + to.y) / 2 });
  return {
    nodes,
    edges: edges.map(([from, to]) => {
      const at = from === to ? { x: nodes[from].x, y: nodes[from].y - size.height / 2 } : middle(nodes[from], nodes[to]);
      return { ...at, points: [nodes[from], at, nodes[to]] };
    }),
    width: left - step.x + size.width / 2 + gap.y,
    height,
  };
}
