// The page: what comes over the stream is kept by part, and what shows it is drawn anew once a frame.

const SHOWS = {
  cluster: ["standing", "needs", "topology", "nodes", "agents"],
  traffic: ["needs", "flow", "nodes", "losses"],
  figures: ["figures"],
  pools: ["needs", "agents"],
  work: ["needs", "work", "agents"],
  budgets: ["needs", "work"],
  sessions: ["agents"],
  reservations: ["needs", "work"],
  losses: ["needs", "losses"],
  projects: ["projects"],
};
const PANELS = { standing: showStanding, needs: showNeeds, topology: showTopology, flow: showFlow, nodes: showNodes, agents: showAgents, work: showWork, losses: showLosses, figures: showFigures, trips: showTrips, events: showEvents, projects: showProjects };
const dirty = new Set();
let overview = null;
let hiddenFor = null;
/** A page that nobody looks at closes its streams after so long, in milliseconds. */
const HIDDEN_MS = 60 * 1000;

function soon(...panels) {
  const first = dirty.size === 0;
  panels.forEach((panel) => dirty.add(panel));
  if (first && dirty.size) requestAnimationFrame(show);
}

function show() {
  const panels = [...dirty];
  dirty.clear();
  for (const panel of panels) PANELS[panel]();
}

function lost(why) {
  $("lost").hidden = !why;
  if (why) $("lost").textContent = `Not up to date: ${why}. It is tried again.`;
  document.body.classList.toggle("stale", Boolean(why));
}

function follow() {
  if (overview) overview.close();
  overview = new Stream({
    path: () => ofProject("overview", { stalled_ms: $("stalled").value }),
    on: (part, said) => {
      state.parts[part] = said;
      if (part === "traffic") { noteTraffic(said); noteTrips(said); }
      if (part === "figures") noteFigures(said);
      if (part === "traffic") soon("trips");
      soon(...(SHOWS[part] || []));
    },
    up: () => lost(null),
    lost,
  });
}

function showProjects() {
  const names = [...new Set([state.project, "default", ...(state.parts.projects || [])])].sort();
  const select = $("project");
  if ([...select.options].map((option) => option.value).join("\n") !== names.join("\n")) {
    select.replaceChildren(...names.map((name) => h("option", { value: name }, name)));
  }
  select.value = state.project;
}

function ofAddress() {
  state.project = new URLSearchParams(location.search).get("project") || "default";
}

function chooseProject(name) {
  const query = new URLSearchParams(location.search);
  if (name === "default") query.delete("project");
  else query.set("project", name);
  history.replaceState(null, "", `${location.pathname}${query.size ? `?${query}` : ""}${location.hash}`);
  state.project = name;
  state.parts = { ...state.parts, work: undefined, budgets: undefined, sessions: undefined, reservations: undefined, losses: undefined };
  begin();
}

function begin() {
  follow();
  followEvents();
  $("memory-value").replaceChildren(empty("Choose a key to see its value and its history."));
  showKeys("");
}

function theme(name) {
  if (name) document.documentElement.dataset.theme = name;
  else delete document.documentElement.dataset.theme;
}

function watchHidden() {
  document.addEventListener("visibilitychange", () => {
    clearTimeout(hiddenFor);
    if (document.hidden) {
      hiddenFor = setTimeout(() => { overview.close(); feed.stream.close(); overview = null; }, HIDDEN_MS);
    } else if (!overview) begin();
  });
}

ofAddress();
showProjects();
watchToken();
watchMemory();
watchEvents();
watchHidden();
$("project").addEventListener("change", () => chooseProject($("project").value));
$("stalled").addEventListener("change", follow);
$("theme").value = sessionStorage.getItem("queenright-theme") || "";
theme($("theme").value);
$("theme").addEventListener("change", () => { sessionStorage.setItem("queenright-theme", $("theme").value); theme($("theme").value); });
$("links").closest("details").open = matchMedia("(min-width: 1000px)").matches;
$("links").closest("details").addEventListener("toggle", showFlow);
begin();
