// The work of the project: agents, queues, tasks, budgets, reservations, conflicts.

const STATES = ["busy", "waiting", "idle", "starting", "passive", "paused", "recovering", "failed", "done", "stopped"];

/** What the sessions of agents that nodes host say that they are: those are counted by state. */
const HOSTED = "queenright agent";

/** A bar of parts, and its legend in words. */
function bar(parts, label) {
  const total = parts.reduce((sum, [, count]) => sum + count, 0);
  const strip = h("svg:svg", { class: "bar", viewBox: "0 0 1000 14", preserveAspectRatio: "none", role: "img", "aria-label": `${label}: ${parts.map(([name, count]) => `${name} ${count}`).join(", ")}` });
  let at = 0;
  for (const [name, count] of parts) {
    const wide = (1000 * count) / total;
    strip.append(h("svg:rect", { x: at, y: 0, width: Math.max(wide - 2, 2), height: 14, class: `s-${name}` }));
    at += wide;
  }
  return h("div", {}, strip, h("ul", { class: "legend-list", "aria-hidden": "true" }, parts.map(([name, count]) => h("li", {}, h("i", { class: `s-${name}` }), `${name.replaceAll("-", " ")} `, h("b", {}, number(count))))));
}

function showAgents() {
  const { cluster, pools, sessions } = state.parts;
  if (!cluster) return;
  const sum = {};
  let complete = true;
  for (const node of cluster.nodes) {
    const by = node.agents_by_state;
    if (!by) continue;
    complete = complete && by.complete;
    for (const [name, count] of Object.entries(by.states)) sum[name] = (sum[name] || 0) + count;
  }
  const parts = STATES.filter((name) => sum[name]).map((name) => [name, sum[name]]);
  const hosted = parts.reduce((all, [, count]) => all + count, 0);
  const outside = ((sessions || {}).sessions || []).filter((session) => !session.passing && session.program !== HOSTED);
  $("agents-count").textContent = hosted + outside.length ? number(hosted + outside.length) : "";
  put($("agents-bar"), { parts, complete }, () => (parts.length === 0
    ? empty("No agent is hosted by a node. Start one: ", command("queenright agent spawn --help"), " or a pool: ", command("queenright pool set --help"))
    : h("div", {}, h("h3", {}, "Hosted, by state"), bar(parts, "Hosted agents by state"), !complete && h("p", { class: "dim" }, "Of each node the first 10\u202f000 by name."))));
  const held = new Map();
  for (const task of ((state.parts.work || {}).tasks || [])) if (task.lease) held.set(task.lease.holder.session || task.lease.holder.name, [...(held.get(task.lease.holder.session || task.lease.holder.name) || []), task]);
  const perNode = cluster.nodes.filter((node) => node.agents_by_state && Object.keys(node.agents_by_state.states).length);
  const content = {
    perNode: perNode.map((node) => [node.name, node.agents_by_state.states]),
    pools: pools || [],
    outside: outside.map((session) => ({ ...session, at: (held.get(session.session) || []).map((task) => [task.task, task.title, task.sort, (task.lease || {}).progress]) })),
  };
  put($("agents-rest"), content, () => h("div", {},
    content.perNode.length > 0 && h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Agents of each node" }, table("Agents of each node", [["Node"], ...parts.map(([name]) => [name, "n"])], content.perNode.map(([name, states]) => [name, ...parts.map(([state]) => number(states[state] || 0))]))),
    content.pools.length > 0 && h("div", {}, h("h3", {}, "Pools"), h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Pools" }, table("Pools", [["Pool"], ["Queue"], ["Ready", "n"], ["Wanted", "n"], ["Busy", "n"], ["Idle", "n"], ["Starting", "n"], ["Draining", "n"], ["Failed", "n"]], content.pools.map((pool) => {
      const row = [pool.drained ? [pool.pool, h("span", { class: "pill odd" }, "drained")] : pool.pool, `${pool.settings.project || "default"}/${pool.settings.queue || "default"}`, number(pool.ready), number(pool.wanted), number(pool.agents.busy), number(pool.agents.idle), number(pool.agents.starting), number(pool.agents.draining), h("span", { class: pool.agents.failures ? "warn" : "" }, number(pool.agents.failures))];
      return row;
    })))),
    h("h3", {}, "Outside the nodes"),
    content.outside.length === 0
      ? empty("No session is open in this project. A worker opens one by ", code("queenright run"), ", over HTTP or MCP.")
      : h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Sessions" }, table("Sessions", [["Name"], ["Session"], ["State"], ["Program", "w"], ["Works on", "t"]], content.outside.map((session) => [
        session.name, session.session, h("span", { class: `pill ${session.state === "open" ? "good" : "odd"}` }, session.state), session.program || "–",
        session.at.length === 0 ? h("span", { class: "dim" }, session.holds ? `${number(session.holds)} held` : "nothing") : session.at.map(([id, title, sort, progress]) => h("div", { class: sort === "stalled" ? "warn" : "" }, `${id} ${title}`, typeof progress === "number" ? ` ${progress} %` : "", sort === "stalled" ? " (stalled)" : "")),
      ])))));
}

function showWork() {
  const { work, budgets, reservations } = state.parts;
  if (!work) return;
  const order = ["leased", "pending", "blocked", "awaiting-approval", "paused", "dead", "failed", "cancelled", "done"];
  const parts = order.filter((name) => work.states[name]).map((name) => [name, work.states[name]]);
  $("work-states").textContent = work.complete ? "" : "the oldest 65\u202f536 tasks were looked at";
  put($("queues"), { parts, queues: work.queues }, () => (parts.length === 0
    ? empty("No task in this project. Add one: ", command(`queenright task add 'Say hello'${inProject()}`))
    : h("div", {}, bar(parts, "Tasks by state"),
      work.queues.length > 0 && h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Queues" }, table("Queues", [["Queue"], ["Open", "n"], ["Ready", "n"], ["Depth"], ["Workers waiting", "n"], ["State"]], work.queues.map((queue) => {
        const most = Math.max(...work.queues.map((one) => one.open), 1);
        const odd = queue.paused_by ? `paused by ${queue.paused_by}` : queue.breaker.state !== "closed" ? `breaker ${queue.breaker.state.replace("_", " ")}` : queue.waits_for || "";
        const depth = h("svg:svg", { class: "depth", viewBox: "0 0 100 8", preserveAspectRatio: "none", "aria-hidden": "true" }, h("svg:rect", { width: (100 * queue.open) / most, height: 8, class: "s-pending" }), h("svg:rect", { width: (100 * queue.ready) / most, height: 8, class: "s-ready" }));
        return [queue.queue, number(queue.open), number(queue.ready), depth, number(queue.waiting), odd ? h("span", { class: "pill odd" }, odd) : h("span", { class: "dim" }, "hands out")];
      }))))));
  const shown = work.tasks.filter((task) => task.sort !== "at_work");
  const busy = work.tasks.filter((task) => task.sort === "at_work");
  const line = (task) => [task.task, task.title, h("span", { class: `pill ${["at_work"].includes(task.sort) ? "good" : ["paused"].includes(task.sort) ? "odd" : "bad"}` }, task.sort.replaceAll("_", " ")), task.terms.queue, task.lease ? holder(task.lease.holder) : "–", task.lease && typeof task.lease.progress === "number" ? `${task.lease.progress} %` : "–", number(task.attempts), (task.lease && task.lease.note) || (task.closed && task.closed.reason) || (task.finished && task.finished.failure) || ""];
  put($("tasks"), [...shown, ...busy], () => (shown.length + busy.length === 0 ? h("p", { class: "dim" }, "Nobody works on a task, and none needs a look.") : h("div", {}, h("h3", {}, "Tasks at work, or to look at"), h("div", { class: "scroll tall", tabindex: "0", role: "region", "aria-label": "Tasks" }, table("Tasks", [["Task"], ["Title", "t"], ["State", "w"], ["Queue", "w"], ["Holder", "w"], ["Done", "n"], ["Attempts", "n"], ["Said", "t"]], [...shown, ...busy].map(line))))));
  const accounts = (budgets || {}).budgets || [];
  put($("budgets"), accounts, () => (accounts.length === 0 ? h("span", {}) : h("div", {}, h("h3", {}, "Budgets"), accounts.flatMap((account) => Object.entries(account.budget.limits).filter(([, limit]) => typeof limit === "number").map(([field, limit]) => {
    const used = usedOf(account.budget.used, field);
    const share = Math.min(1, used / limit);
    const kind = share >= 1 ? "bad" : share >= 0.8 ? "odd" : "good";
    return h("p", { class: "budget" }, h("span", {}, `${account.account} ${FIELDS[field] || field} `), h("meter", { min: 0, max: 1, low: 0.8, high: 0.9999, optimum: 0, value: share }, `${Math.round(share * 100)} %`), h("span", { class: `pill ${kind}` }, `${Math.floor((100 * used) / limit)} %`), h("span", { class: "dim" }, ` ${amount(field, used)} of ${amount(field, limit)}`));
  })))));
  const stand = (reservations || {}).reservations || [];
  put($("reservations"), stand, () => (stand.length === 0 ? h("span", {}) : h("details", {}, h("summary", {}, `Reservations: ${number(reservations.total - reservations.waiting)} held, ${number(reservations.waiting)} waiting${reservations.advisory ? ", advisory" : ""}`), h("div", { class: "scroll tall", tabindex: "0", role: "region", "aria-label": "Reservations" }, table("Reservations", [["Resource", "t"], ["Mode"], ["Holder"], ["State"], ["Why"]], stand.map((one) => [h("span", { class: "mono" }, one.resources.map((want) => want.resource).join(", ")), [...new Set(one.resources.map((want) => want.mode))].join(", "), holder(one.holder), one.state, one.reason || ""]))))));
}

function showLosses() {
  const { losses, traffic } = state.parts;
  const now = traffic ? Math.floor(traffic.cluster_ms / 10000) * 10000 : 0;
  const list = losses || [];
  put($("losses"), { list, now: list.length ? now : 0 }, () => (list.length === 0
    ? empty("No proposal has lost since this node started. What loses here names who it lost to, and the key.")
    : h("div", { class: "scroll tall", tabindex: "0", role: "region", "aria-label": "Proposals that lost" }, table("Proposals that lost", [["Who lost"], ["To whom", "w"], ["Key", "t"], ["Why", "w"], ["At", "n"], ["Ago", "n"]], list.map((lost) => [
      h("b", {}, lost.author), lost.to ? h("b", { class: "won" }, lost.to) : h("span", { class: "dim" }, "no longer known"), h("span", { class: "mono" }, lost.key), `${lost.kind.replaceAll("_", " ")}${lost.conflicts > 1 ? `, ${number(lost.conflicts)} conflicts` : ""}`, lost.seq ? number(lost.seq) : h("span", { class: "dim", title: "its node refused it before it reached the log" }, "early"), roughly(now - lost.cluster_ms + 10000),
    ])))));
}
