// The nodes: how they are linked, what flows between them, how far each is.

/** From so many entries on a node lags whatever it does. */
const LAG_MAX = 1000;
/** The last traffic, to take rates over, and how far each node was in the last few. */
const flow = { before: null, rates: new Map(), history: [], steps: 0 };
/** How traffic is drawn: from so many envelopes a second on, how far apart its dots are, and how far they go with each sample. */
const PACES = [["fast", 200, 2, 0.9], ["steady", 10, 4, 1.3], ["slow", 0.5, 6, 1.3]];
const still = matchMedia("(prefers-reduced-motion: reduce)");

function noteTraffic(traffic) {
  const before = flow.before;
  flow.before = traffic;
  flow.steps += 1;
  flow.history.push(traffic);
  while (flow.history.length > 4) flow.history.shift();
  if (!before || traffic.at_ms <= before.at_ms) {
    flow.rates.clear();
    return;
  }
  const seconds = (traffic.at_ms - before.at_ms) / 1000;
  const old = new Map(before.links.map((link) => [`${link.one} ${link.other}`, link]));
  const rate = (now, then) => (typeof now === "number" && typeof then === "number" && now >= then ? (now - then) / seconds : 0);
  flow.rates.clear();
  for (const link of traffic.links) {
    const then = old.get(`${link.one} ${link.other}`);
    if (!then) continue;
    flow.rates.set(`${link.one} ${link.other}`, {
      there: rate(link.sent, then.sent),
      back: rate(link.sent_back, then.sent_back),
      bytes: rate(link.bytes, then.bytes),
    });
  }
}

const rateOf = (link) => flow.rates.get(`${link.one} ${link.other}`) || { there: 0, back: 0, bytes: 0 };

/** How far each node is behind the one that is furthest, and whether it stays there. */
function lags() {
  const { traffic } = state.parts;
  if (!traffic) return [];
  const furthest = Math.max(0, ...traffic.nodes.map((node) => node.applied || 0));
  const oldest = flow.history[0];
  return traffic.nodes.map((node) => {
    const behind = node.applied === null ? null : furthest - node.applied;
    const then = oldest && oldest.nodes.find((one) => one.name === node.name);
    const stands = flow.history.length === 4 && then && then.applied === node.applied;
    const same = traffic.nodes.filter((one) => one.seq !== null && one.seq === node.seq && one.digest);
    const agree = same.filter((one) => one.digest === node.digest).length;
    return { name: node.name, seq: node.seq, behind, lagging: behind !== null && (behind >= LAG_MAX || (behind > 0 && stands)), differs: Boolean(node.digest) && agree * 2 <= same.length && same.length > 2 };
  });
}

/** Where each node is drawn, in a field of 100 by 66. */
function places(cluster) {
  const { nodes, links } = cluster;
  const spots = new Map();
  const data = links.filter((link) => link.role === "data");
  const near = new Map(nodes.map((node) => [node.name, []]));
  for (const link of data) {
    if (near.has(link.one)) near.get(link.one).push(link.other);
    if (near.has(link.other)) near.get(link.other).push(link.one);
  }
  const circle = (names, from = -Math.PI / 2) => names.forEach((name, at) => {
    const angle = from + (2 * Math.PI * at) / names.length;
    spots.set(name, [50 + 41 * Math.cos(angle), 32 + 25 * Math.sin(angle)]);
  });
  const names = nodes.map((node) => node.name);
  if (cluster.topology.startsWith("star") && names.length > 2) {
    const hub = [...names].sort((a, b) => near.get(b).length - near.get(a).length)[0];
    spots.set(hub, [50, 33]);
    circle(names.filter((name) => name !== hub));
  } else if (cluster.topology.startsWith("hierarchical")) {
    // Whoever is at the top comes first; leaves stand side by side, and each other node above the middle of its own.
    const rows = [];
    let leaves = 0;
    const hang = (name, depth, seen) => {
      seen.add(name);
      const below = near.get(name).filter((other) => !seen.has(other)).map((other) => hang(other, depth + 1, seen));
      const x = below.length ? below.reduce((sum, at) => sum + at, 0) / below.length : (leaves += 1) - 0.5;
      rows.push([name, x, depth]);
      return x;
    };
    const seen = new Set();
    names.forEach((name) => { if (!seen.has(name)) hang(name, 0, seen); });
    const deepest = Math.max(1, ...rows.map(([, , depth]) => depth));
    rows.forEach(([name, x, depth]) => spots.set(name, [(100 * x) / leaves, 8 + (50 * depth) / deepest]));
  } else if (names.length === 1) {
    spots.set(names[0], [50, 33]);
  } else if (names.length === 2) {
    spots.set(names[0], [22, 33]);
    spots.set(names[1], [78, 33]);
  } else {
    circle(names);
  }
  return spots;
}

function showTopology() {
  const { cluster } = state.parts;
  if (!cluster) return;
  $("topology-kind").textContent = `${cluster.topology}, epoch ${cluster.epoch}`;
  const links = cluster.links.filter((link) => link.role !== "idle");
  put($("drawing"), { nodes: cluster.nodes.map(({ name, role, standing, doubts }) => [name, role, standing, doubts.length]), links, topology: cluster.topology, leader: cluster.leader }, () => draw(cluster, links));
  showFlow();
}

const kindOf = (node) => {
  if (node.role === "unreachable") return "bad";
  if (node.doubts.length || node.standing) return "odd";
  return "good";
};

function draw(cluster, links) {
  const spots = places(cluster);
  const small = cluster.nodes.length > 8;
  const radius = small ? 3.2 : 4.6;
  const up = links.filter((link) => link.state === "up").length;
  const words = `${cluster.nodes.length} nodes in a ${cluster.topology}, ${up} of ${links.length} links up, leader ${cluster.leader || "none"}`;
  const drawing = h("svg:svg", { class: small ? "many" : "few", viewBox: "0 0 100 68", role: "img", "aria-label": words });
  for (const link of links) {
    const [a, b] = [spots.get(link.one), spots.get(link.other)];
    if (!a || !b) continue;
    const id = `${link.one} ${link.other}`;
    // What flows there and what flows back have a lane each.
    const long = Math.hypot(b[0] - a[0], b[1] - a[1]) || 1;
    const [dx, dy] = [((b[1] - a[1]) / long) * 0.7, ((a[0] - b[0]) / long) * 0.7];
    const line = (kind, lane = 0) => h("svg:line", { x1: a[0] + lane * dx, y1: a[1] + lane * dy, x2: b[0] + lane * dx, y2: b[1] + lane * dy, class: kind });
    const title = h("svg:title", {}, "");
    const group = h("svg:g", { class: `link ${link.role} ${link.state}`, "data-link": id }, title, line("wire"), line("there", 1), line("back", -1));
    if (!small && links.length <= 6) {
      group.append(h("svg:text", { x: (a[0] + b[0]) / 2, y: (a[1] + b[1]) / 2 - 1.2, class: "rate" }, ""));
    }
    drawing.append(group);
  }
  for (const node of cluster.nodes) {
    const [x, y] = spots.get(node.name);
    const leads = node.name === cluster.leader;
    const below = leads ? "leader" : node.role === "unreachable" ? "unreachable" : node.standing || node.role;
    drawing.append(h("svg:g", { class: `node ${kindOf(node)}${leads ? " leads" : ""}`, "data-node": node.name },
      h("svg:title", {}, `${node.name}, ${below}`),
      leads && h("svg:circle", { cx: x, cy: y, r: radius + 1.1, class: "ring" }),
      h("svg:circle", { cx: x, cy: y, r: radius }),
      node.role === "unreachable" && h("svg:path", { class: "cross", d: `M${x - radius / 2} ${y - radius / 2}l${radius} ${radius}m0 ${-radius}l${-radius} ${radius}` }),
      node.role !== "unreachable" && h("svg:text", { x, y: y + 1, class: small ? "name small" : "name" }, node.name.length > 5 ? `${node.name.slice(0, 4)}…` : node.name),
      (!small || node.role === "unreachable") && h("svg:text", { x, y: y + radius + (leads ? 4.2 : 3.6), class: "role" }, node.role !== "unreachable" ? below : small ? node.name : `${node.name} unreachable`)));
  }
  return drawing;
}

/** The dots of one direction. They step on with each sample: a movement without pause would keep a core busy where nothing draws but the processor. */
function dots(line, direction, per, sign) {
  const [pace, , apart, step] = PACES.find(([, from]) => per >= from) || ["", 0, 1, 0];
  line.setAttribute("class", `${direction} ${pace}`);
  if (!still.matches) line.setAttribute("stroke-dashoffset", ((sign * flow.steps * step) % apart).toFixed(2));
}

/** The traffic since the last look, on the drawing and in the table. */
function showFlow() {
  const { cluster, traffic } = state.parts;
  if (!cluster || !traffic) return;
  for (const group of $("drawing").querySelectorAll("[data-link]")) {
    const rate = flow.rates.get(group.dataset.link) || { there: 0, back: 0, bytes: 0 };
    dots(group.querySelector(".there"), "there", rate.there, -1);
    dots(group.querySelector(".back"), "back", rate.back, 1);
    const words = `${bytes(rate.bytes)}/s`;
    group.querySelector("title").textContent = `${group.dataset.link.replace(" ", " – ")}: ${words}`;
    const text = group.querySelector(".rate");
    if (text) text.textContent = words;
  }
  if (!$("links").closest("details").open) return;
  const byName = new Map(traffic.links.map((link) => [`${link.one} ${link.other}`, link]));
  const links = cluster.links.filter((link) => link.role !== "idle");
  const rows = links.map((link) => {
    const rate = rateOf(link);
    const counted = byName.get(`${link.one} ${link.other}`) || {};
    const state = link.problem ? `${link.state}: ${link.problem}` : link.state;
    return { kind: link.state === "up" ? "" : "bad", cells: [`${link.one} – ${link.other}`, link.role, state, `${Math.round(rate.there)} / ${Math.round(rate.back)}`, bytes(rate.bytes), micros(counted.round_trip_us)] };
  });
  put($("links"), rows, () => (rows.length === 0 ? empty("One node has no links.") : table("Links", [["Link", "w"], ["For"], ["State"], ["Envelopes/s", "n"], ["Bytes/s", "n"], ["Round trip", "n"]], rows.map(({ kind, cells }) => Object.assign(cells, { kind })))));
}

function showNodes() {
  const { cluster, traffic } = state.parts;
  if (!cluster) return;
  const far = new Map(lags().map((node) => [node.name, node]));
  const now = new Map(((traffic || {}).nodes || []).map((node) => [node.name, node]));
  const rows = cluster.nodes.map((node) => {
    const lag = far.get(node.name) || {};
    const at = now.get(node.name) || {};
    const role = h("span", { class: `pill ${kindOf(node)}` }, node.name === cluster.leader ? "leader" : node.role);
    const row = [
      node.name,
      [role, node.standing ? ` ${node.standing}` : "", node.name === cluster.node ? h("span", { class: "dim" }, " this door") : ""],
      number(at.applied),
      lag.behind === null || lag.behind === undefined ? "–" : lag.behind === 0 ? "0" : h("span", { class: lag.lagging ? "warn" : "" }, `−${number(lag.behind)}`),
      number(node.agents),
      at.disk ? h("span", { class: node.disk_low ? "warn" : "" }, bytes(at.disk.free_bytes)) : "–",
      number(at.subscribers),
      [node.http, node.pid ? h("span", { class: "dim" }, ` pid ${node.pid}`) : ""],
    ];
    row.kind = node.role === "unreachable" ? "bad" : "";
    return row;
  });
  put($("nodes-table"), [cluster.nodes, cluster.leader, [...far.values()], [...now.values()].map((node) => [node.applied, node.subscribers, node.disk && bytes(node.disk.free_bytes)])], () => table("Nodes", [["Node"], ["Role", "w"], ["Applied", "n"], ["Lag", "n"], ["Agents", "n"], ["Disk free", "n"], ["Followers", "n"], ["Door", "w"]], rows));
}

function showStanding() {
  const { cluster } = state.parts;
  if (!cluster) return;
  $("cluster").textContent = cluster.cluster;
  const silent = cluster.nodes.filter((node) => node.role === "unreachable").length;
  const answering = `${cluster.nodes.length - silent} of ${cluster.nodes.length} nodes`;
  const text = cluster.queenright ? `queenright, leader ${cluster.leader || "?"}, term ${cluster.term}, ${answering}` : `not queenright, term ${cluster.term}, ${answering}`;
  // A reader is told when it changes only.
  if ($("standing").textContent !== text) $("standing").textContent = text;
  $("standing").className = `standing ${cluster.queenright ? (silent ? "odd" : "good") : "bad"}`;
  const said = `node ${cluster.node} tells this, build ${(cluster.nodes.find((node) => node.name === cluster.node) || {}).build || "?"}, rules ${cluster.rules_version}, cluster ${cluster.cluster_id || "not minted yet"}`;
  if ($("footer").textContent !== said) $("footer").textContent = said;
}
