// What somebody should look at, the worst first.

const ORDER = { act: 0, look: 1, know: 2 };
const SEVERITY = { act: "Act", look: "Look", know: "Know" };
/** Conflicts are news for so long, in milliseconds. */
const NEWS_MS = 10 * 60 * 1000;

function needs() {
  const found = [];
  const need = (severity, key, title, detail, run, link) => found.push({ severity, key, title, detail: detail || "", run: run || [], link });
  const { cluster, traffic, work, budgets, pools, losses, reservations } = state.parts;
  if (cluster) ofNodes(cluster, need);
  if (traffic && cluster) ofLag(need);
  if (work) ofWork(work, traffic, need);
  (pools || []).forEach((pool) => ofPool(pool, need));
  ((budgets || {}).budgets || []).forEach((account) => ofBudget(account, need));
  ofAgents(cluster, need);
  ofReservations(reservations, need);
  ofLosses(losses, traffic, need);
  return found.sort((a, b) => ORDER[a.severity] - ORDER[b.severity]);
}

function ofNodes(cluster, need) {
  const { nodes, links } = cluster;
  if (!cluster.queenright) {
    const silent = nodes.filter((node) => node.role === "unreachable").map((node) => node.name);
    const detail = silent.length ? `${silent.join(", ")} ${silent.length === 1 ? "does" : "do"} not answer; no write is accepted without a majority` : "no leader that a majority follows; an election may be under way";
    need("act", "queen", "No leader that a quorum follows", detail, ["queenright status"], "#nodes");
  }
  for (const node of nodes) {
    if (node.role === "unreachable") {
      const by = node.doubts.filter((doubt) => doubt.view === "down").map((doubt) => doubt.by);
      const detail = by.length ? `down in the view of ${by.join(", ")}` : `does not answer ${cluster.node}`;
      need("act", `node ${node.name}`, `Node ${node.name} is unreachable`, `${detail}; start it again, or let it go if its host is lost`, [`queenright node remove ${shell(node.name)}`], "#nodes");
    } else if (node.doubts.length) {
      const blocked = node.doubts.some((doubt) => doubt.udp_blocked);
      const by = node.doubts.map((doubt) => `${doubt.by}: ${doubt.udp_blocked ? "datagrams blocked?" : doubt.view}`).join(", ");
      need("look", `doubt ${node.name}`, blocked ? `Datagrams of ${node.name} do not arrive` : `Node ${node.name} is doubted`, by, [], "#nodes");
    }
    if (node.disk_low) need("act", `disk ${node.name}`, `The disk of ${node.name} is low`, "commands that need room are refused once a majority is low", [], "#nodes");
    if (node.standing === "drained") need("know", `drained ${node.name}`, `${node.name} is drained`, "it takes no new work", [`queenright node drain ${shell(node.name)} --off`], "#nodes");
    if (node.standing === "leaving") need("know", `leaving ${node.name}`, `${node.name} is on its way out`, "", [], "#nodes");
    if (node.recovery && node.recovery.set_aside && node.recovery.set_aside.length) {
      need("look", `aside ${node.name}`, `${node.name} set damaged data aside`, node.recovery.set_aside.join(", "), [], "#nodes");
    }
  }
  const gone = new Set(nodes.filter((node) => node.role === "unreachable").map((node) => node.name));
  for (const link of links) {
    if (link.state === "up" || link.role === "idle" || gone.has(link.one) || gone.has(link.other)) continue;
    const title = link.state === "cut" ? `The link ${link.one} – ${link.other} is cut` : `The link ${link.one} – ${link.other} is down`;
    need(link.state === "cut" ? "look" : "act", `link ${link.one} ${link.other}`, title, link.problem || (link.state === "cut" ? "signals are led around it" : ""), [], "#topology");
  }
  const builds = new Set(nodes.map((node) => node.build).filter(Boolean));
  if (builds.size > 1) need("know", "builds", "The nodes have different builds", nodes.map((node) => `${node.name} ${node.build || "?"}`).join(", "), [], "#nodes");
}

function ofLag(need) {
  for (const node of lags()) {
    if (node.lagging) need("look", `lag ${node.name}`, `${node.name} lags behind`, `${many(node.behind, "entry", "entries")} of the log behind, and not catching up`, [], "#nodes");
    if (node.differs) need("act", `differs ${node.name}`, `The state of ${node.name} differs`, `its digest at ${number(node.seq)} is not that of the others`, [`queenright node replace ${shell(node.name)}`], "#nodes");
  }
}

const inProject = () => (state.project === "default" ? "" : ` --project ${shell(state.project)}`);

function ofWork(work, traffic, need) {
  const now = traffic ? traffic.cluster_ms : 0;
  const of = (sort) => work.tasks.filter((task) => task.sort === sort);
  const p = inProject();
  for (const task of of("stalled")) {
    const said = task.lease.note ? `, last said “${task.lease.note}”` : "";
    need("act", `stalled ${task.task}`, `Stalled: ${task.title}`, `${task.task}, held by ${holder(task.lease.holder)}, silent for ${roughly(now - task.heard_ms)}${said}`, [`queenright task show ${task.task}${p}`, `queenright task cancel ${task.task} --force --reason 'stalled'${p}`], "#work");
  }
  for (const task of of("dead")) {
    const why = task.closed ? task.closed.reason : "used up what its terms allow";
    need("act", `dead ${task.task}`, `Dead letter: ${task.title}`, `${task.task}, ${why}`, [`queenright task show ${task.task}${p}`, `queenright task requeue ${task.task}${p}`], "#work");
  }
  for (const task of of("awaiting_approval")) {
    need("act", `approve ${task.task}`, `Waits for approval: ${task.title}`, `${task.task}, added by ${task.author}`, [`queenright task approve ${task.task}${p}`, `queenright task reject ${task.task}${p}`], "#work");
  }
  const failed = work.states.failed || 0;
  if (failed) {
    const first = of("failed")[0];
    need("look", "failed", `${many(failed, "task has", "tasks have")} failed`, first ? `such as ${first.task}, ${first.title}${first.finished && first.finished.failure ? `: ${first.finished.failure}` : ""}` : "", [`queenright task list --state failed${p}`], "#work");
  }
  for (const task of of("paused")) need("know", `paused ${task.task}`, `Paused: ${task.title}`, `${task.task}, by ${task.paused_by}`, [`queenright task resume ${task.task}${p}`], "#work");
  for (const sort of [["dead", "dead"], ["awaiting_approval", "awaiting-approval"]]) {
    const more = (work.states[sort[1]] || 0) - of(sort[0]).length;
    if (more > 0) need("act", `more ${sort[0]}`, `${number(more)} more ${sort[1] === "dead" ? "dead letters" : "wait for approval"}`, "", [`queenright task list --state ${sort[1]}${p}`], "#work");
  }
  for (const queue of work.queues) {
    if (queue.paused_by) need("look", `queue ${queue.queue}`, `Queue ${queue.queue} is paused`, `by ${queue.paused_by}, ${number(queue.open)} open`, [`queenright queue set ${shell(queue.queue)} --paused false${p}`], "#work");
    if (queue.breaker.state !== "closed") need("act", `breaker ${queue.queue}`, `The breaker of queue ${queue.queue} is ${queue.breaker.state === "open" ? "open" : "half open"}`, `after ${many(queue.breaker_failures, "failure")} in a row`, [`queenright queue list${p}`], "#work");
  }
}

function ofPool(pool, need) {
  if (pool.drained) need("look", `pool ${pool.pool}`, `Pool ${pool.pool} is drained`, `it is to have no agents; ${number(pool.ready)} tasks are ready`, [`queenright pool drain ${shell(pool.pool)} --off`], "#agents");
  if (pool.agents.last_failure && pool.agents.failures) need("act", `pool fails ${pool.pool}`, `Agents of pool ${pool.pool} fail`, `${number(pool.agents.failures)} times, last: ${pool.agents.last_failure}`, [`queenright pool status ${shell(pool.pool)}`], "#agents");
}

/** What of a limit is used: tokens that were read and written count together. */
const usedOf = (used, field) => (field === "tokens" ? used.tokens_in + used.tokens_out : used[field]) || 0;

/** An amount of what a budget bounds. */
function amount(field, value) {
  if (field === "time_ms") return span(value);
  if (field === "cost_micros") return (value / 1e6).toFixed(2);
  return number(value);
}

const FIELDS = { time_ms: "time", cost_micros: "cost", tokens: "tokens" };

function ofBudget(account, need) {
  const { limits, used, reached } = account.budget;
  for (const [field, limit] of Object.entries(limits)) {
    if (typeof limit !== "number" || limit === 0) continue;
    const spentOf = usedOf(used, field);
    const share = spentOf / limit;
    if (share < 0.8) continue;
    const spent = (reached || []).includes(field) || share >= 1;
    const name = account.account.startsWith("queue:") ? `queue ${account.account.slice(6)}` : account.account;
    need(spent ? "act" : "look", `budget ${account.account} ${field}`, spent ? `The budget of ${name} is spent` : `The budget of ${name} is at ${Math.floor(share * 100)} %`, `${FIELDS[field] || field}: ${amount(field, spentOf)} of ${amount(field, limit)}`, [`queenright budget show ${shell(account.account)}${inProject()}`], "#work");
  }
}

function ofAgents(cluster, need) {
  for (const node of (cluster || {}).nodes || []) {
    for (const agent of (node.agents_by_state || {}).troubled || []) {
      const failed = agent.state === "failed";
      need(failed ? "act" : "look", `agent ${node.name} ${agent.name}`, failed ? `Agent ${agent.name} has failed` : `Agent ${agent.name} is being started again`, `on ${node.name}, ${many(agent.restarts, "restart")}${agent.reason ? `: ${agent.reason}` : ""}`, [`queenright agent show ${shell(agent.name)} --node ${shell(node.http)}`], "#agents");
    }
  }
}

function ofReservations(reservations, need) {
  const waiting = (reservations || {}).waiting || 0;
  if (waiting) need("know", "reservations", `${many(waiting, "reservation waits", "reservations wait")}`, "somebody else holds what they want", [`queenright reserve list${inProject()}`], "#work");
}

function ofLosses(losses, traffic, need) {
  const now = traffic ? traffic.cluster_ms : 0;
  const recent = (losses || []).filter((lost) => now - lost.cluster_ms < NEWS_MS);
  const byKey = new Map();
  for (const lost of recent) byKey.set(lost.key, [...(byKey.get(lost.key) || []), lost]);
  for (const [key, lost] of [...byKey].sort((a, b) => b[1].length - a[1].length).slice(0, 3)) {
    const first = lost[0];
    need("look", `conflict ${key}`, `Conflict on ${key}`, `${first.author} lost to ${first.to || "somebody"} (${first.kind.replaceAll("_", " ")})${lost.length > 1 ? `, ${number(lost.length)} losses in the last 10 min` : ""}`, [], "#conflicts");
  }
}

let saidNeeds = null;

function showNeeds() {
  if (!state.parts.cluster) return;
  const found = needs();
  const act = found.filter((need) => need.severity === "act").length;
  $("needs-count").textContent = found.length ? number(found.length) : "";
  $("nav-needs").hidden = found.length === 0;
  $("nav-needs").textContent = number(found.length);
  $("nav-needs").className = act ? "bad" : "";
  document.title = found.length ? `(${found.length}) ${state.parts.cluster.cluster} – Queenright` : `${state.parts.cluster.cluster} – Queenright`;
  const said = found.length ? `${many(found.length, "thing needs", "things need")} you: ${found.slice(0, 3).map((need) => need.title).join("; ")}` : "Nothing needs you";
  // Once for each set of needs: a reader is not told of every second.
  const sign = found.map((need) => need.key).join("|");
  if (sign !== saidNeeds) {
    saidNeeds = sign;
    $("needs-said").textContent = said;
  }
  if (found.length === 0) {
    put($("needs-list"), "none", () => h("li", { class: "calm" }, h("b", {}, "Nothing needs you."), " Nodes answer, no task is stalled or dead, nobody waits for an approval."));
    return;
  }
  place($("needs-list"), found, (need) => need.key, (need) => h("li", { class: need.severity, "data-key": need.key },
    h("span", { class: "mark" }, SEVERITY[need.severity]),
    h("div", {},
      need.link ? h("a", { class: "title", href: need.link }, need.title) : h("b", { class: "title" }, need.title),
      need.detail && h("p", {}, need.detail),
      need.run.length > 0 && h("p", { class: "run" }, need.run.map(command)))));
}
