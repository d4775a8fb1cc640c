// What this node counts and measures, and how it goes.

/** How many samples of figures are kept: one a second while commands are committed. */
const KEPT = 300;
const series = { at: [], rounds: [], commands: [], syncs: [], trips: [] };

function noteFigures(figures) {
  const last = series.last;
  const now = performance.now();
  if (last) {
    const seconds = (now - series.lastAt) / 1000;
    const rate = (field) => Math.max(0, (figures[field] - last[field]) / seconds);
    push("rounds", rate("rounds"));
    push("commands", rate("commands"));
    push("syncs", rate("log_syncs"));
  }
  series.last = figures;
  series.lastAt = now;
}

function push(name, value) {
  series[name].push(value);
  while (series[name].length > KEPT) series[name].shift();
}

/** A round trip is a sample when it is told: the median of the last 64 of each link. */
function noteTrips(traffic) {
  for (const link of traffic.links) if (link.round_trip_us) push("trips", link.round_trip_us);
}

function spark(values, label) {
  const most = Math.max(...values, 1e-9);
  const points = values.map((value, at) => `${((100 * at) / Math.max(values.length - 1, 1)).toFixed(1)},${(22 - (20 * value) / most).toFixed(1)}`).join(" ");
  return h("svg:svg", { class: "spark", viewBox: "0 0 100 24", preserveAspectRatio: "none", role: "img", "aria-label": label }, h("svg:polyline", { points }));
}

/** Bars over names; each says its count in words too. */
function histogram(title, buckets, unit) {
  const first = buckets.findIndex(([, count]) => count > 0);
  if (first < 0) return h("figure", {}, h("figcaption", {}, title), empty("Nothing yet."));
  const last = buckets.length - 1 - [...buckets].reverse().findIndex(([, count]) => count > 0);
  const shown = buckets.slice(first, last + 1);
  const total = shown.reduce((sum, [, count]) => sum + count, 0);
  const most = Math.max(...shown.map(([, count]) => count));
  return h("figure", { class: "histogram" },
    h("figcaption", {}, title),
    h("table", {}, h("caption", { class: "sr" }, title), h("thead", { class: "sr" }, h("tr", {}, h("th", { scope: "col" }, unit), h("th", { scope: "col" }, "share"), h("th", { scope: "col" }, "count"))),
      h("tbody", {}, shown.map(([name, count]) => h("tr", {}, h("th", { scope: "row" }, name), h("td", { "aria-hidden": "true" }, h("svg:svg", { class: "depth", viewBox: "0 0 100 8", preserveAspectRatio: "none" }, h("svg:rect", { width: Math.max((100 * count) / most, count ? 1 : 0), height: 8, class: "s-ready" }))), h("td", { class: "n" }, `${((100 * count) / total).toFixed(count / total < 0.1 ? 1 : 0)} %`), h("td", { class: "n dim" }, number(count)))))));
}

const powers = (counts) => counts.map((count, at) => [at === counts.length - 1 ? `over ${number(2 ** (at - 1))}` : at === 0 ? "1" : `to ${number(2 ** at)}`, count]);

function tripBuckets() {
  const buckets = [];
  for (let at = 4; at <= 20; at += 1) buckets.push([`under ${micros(2 ** at)}`, series.trips.filter((value) => value < 2 ** at && (at === 4 || value >= 2 ** (at - 1))).length]);
  return buckets;
}

/** The steps that are measured, in the order in which a command takes them. */
const STEPS = [["commands", "Commands, from call to outcome"], ["claims", "Claims of tasks"], ["rounds", "Rounds"], ["commits", "Commits of the leader"], ["log_syncs", "Syncs of the log"]];

/** The times of a step: how many took how long, and the quantiles of the last minute or two. */
function times(title, latency, bounds) {
  const buckets = bounds.map((us, at) => [`to ${micros(us)}`, latency.within[at] - (latency.within[at - 1] || 0)]);
  buckets.push([`over ${micros(bounds[bounds.length - 1])}`, latency.count - (latency.within[bounds.length - 1] || 0)]);
  const shown = histogram(title, buckets, "time");
  const { recent } = latency;
  const lately = recent.count
    ? `last minute: p50 ${micros(recent.p50_us)}, p90 ${micros(recent.p90_us)}, p99 ${micros(recent.p99_us)}, longest ${micros(recent.max_us)} of ${number(recent.count)}`
    : latency.count ? "none in the last minute" : "";
  if (lately) shown.append(h("p", { class: "dim" }, lately));
  return shown;
}

function showFigures() {
  const { figures, cluster } = state.parts;
  if (!figures) return;
  $("figures-of").textContent = `of ${cluster ? cluster.node : "this node"}, since it started`;
  const last = (name) => series[name][series[name].length - 1];
  const rounds = last("rounds");
  $("rounds-rate").textContent = rounds === undefined ? "" : `${rounds.toFixed(rounds < 10 ? 1 : 0)} rounds/s, ${(last("commands") || 0).toFixed(last("commands") < 10 ? 1 : 0)} commands/s`;
  const tile = (name, value, detail, values) => h("div", { class: "tile" }, h("dt", {}, name), h("dd", {}, h("b", {}, value), detail && h("span", { class: "dim" }, ` ${detail}`), values && values.length > 1 && spark(values, `${name} over the last ${values.length} samples`)));
  const body = h("div", {},
    h("dl", { class: "tiles" },
      tile("Rounds", number(figures.rounds), rounds === undefined ? "" : `${rounds.toFixed(1)}/s`, series.rounds),
      tile("Commands", number(figures.commands), last("commands") === undefined ? "" : `${last("commands").toFixed(1)}/s`, series.commands),
      tile("Log sync", micros(figures.log_sync_p50_us), `p50, p99 ${micros(figures.log_sync_p99_us)}`, series.syncs),
      tile("Log", bytes(figures.log_bytes), `store ${bytes(figures.store_bytes)}`),
      tile("Refused early", number(figures.refused_early), `rounds sent again ${number(figures.rounds_repeated)}`),
      tile("Signals", number(figures.signals.sent), `lost ${number(figures.signals.lost)}, refused ${number(figures.signals.refused)}`)),
    h("div", { class: "histograms" },
      STEPS.map(([name, title]) => times(title, figures.latencies[name], figures.latency_bounds_us)),
      h("div", { id: "trips" }),
      histogram("Commands in a round", powers(figures.rounds_by_commands), "commands"),
      histogram("Commands in a log entry", powers(figures.entries_by_commands), "commands")),
    h("p", { class: "dim" }, "Round trips: medians of the last 64 of each link, one for each look at the cluster since this page opened."));
  $("figures-body").replaceChildren(body);
  showTrips();
}

/** Told more often than the other figures. */
function showTrips() {
  if ($("trips")) $("trips").replaceChildren(histogram("Round trips of all links", tripBuckets(), "round trip"));
}
