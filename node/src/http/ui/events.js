// What happened, as it happens.

/** How many events stand in the list, and how many of the past it begins with. */
const LISTED = 300;
const PAST = 200;
const TYPES = ["changed", "committed", "lost", "judged", "task_added", "task_claimed", "task_finished", "task_returned", "task_moved", "task_cancel_wanted", "task_handed_off", "task_dropped", "session_opened", "session_ended", "queue_changed", "reservation_granted", "reservation_waiting", "reservation_ended", "project_created", "project_limited", "budget_changed", "budget_warned", "budget_spent"];
const feed = { stream: null, waiting: [], held: false, missed: 0, lag: "" };

function tellEvent(event) {
  const key = event.key && h("span", { class: "mono" }, event.key);
  switch (event.type) {
    case "changed": return event.deleted ? ["deleted ", key] : ["changed ", key, ` to r${event.revision}, ${bytes(event.bytes)}`];
    case "committed": return [`committed a proposal of ${many(event.writes, "write")}`];
    case "lost": return [`lost a proposal: ${event.kind.replaceAll("_", " ")}, ${many(event.conflicts, "conflict")}${event.losses > 1 ? `, ${event.losses} in a row` : ""}`];
    case "judged": return [`had a batch judged: ${event.committed} committed, ${event.lost} lost`];
    case "task_added": return [`added task ${event.task}`, event.name ? ` ${event.name}` : "", event.kind ? ` of kind ${event.kind}` : ""];
    case "task_claimed": return [`claimed task ${event.task}, attempt ${event.attempt}, fence ${event.fence}`];
    case "task_finished": return [`finished task ${event.task}: ${event.state}`];
    case "task_returned": return [`task ${event.task} returned: ${event.reason}`];
    case "task_moved": return [`task ${event.task} is ${event.state.replaceAll("-", " ")}${event.reason ? `: ${event.reason}` : ""}`];
    case "task_cancel_wanted": return [`wants task ${event.task} cancelled: ${event.reason}`];
    case "task_handed_off": return [event.to ? `offers task ${event.task} to ${event.to}` : `took back the offer of task ${event.task}`];
    case "task_dropped": return [`dropped task ${event.task}`];
    case "session_opened": return [`opened session ${event.session} (${event.name})`];
    case "session_ended": return [`session ${event.session} ended: ${typeof event.why === "string" ? event.why : JSON.stringify(event.why)}`];
    case "queue_changed": return [`queue ${event.queue}: ${event.paused_by ? `paused by ${event.paused_by}` : `breaker ${event.breaker.state.replaceAll("_", " ")}`}`];
    case "reservation_granted": return [`${holder(event.holder)} reserved `, h("span", { class: "mono" }, event.resources.map((one) => one.resource).join(", "))];
    case "reservation_waiting": return [`${holder(event.holder)} waits for `, h("span", { class: "mono" }, event.resources.map((one) => one.resource).join(", "))];
    case "reservation_ended": return [`reservation of ${holder(event.holder)} ended: ${event.reason} `, h("span", { class: "mono" }, event.resources.join(", "))];
    case "budget_warned": return [`budget of ${event.budget} at 80 %: ${FIELDS[event.field] || event.field} ${amount(event.field, event.used)} of ${amount(event.field, event.limit)}`];
    case "budget_spent": return [`budget of ${event.budget} spent: ${FIELDS[event.field] || event.field} ${amount(event.field, event.used)} of ${amount(event.field, event.limit)}`];
    case "budget_changed": return [event.limits ? `changed the budget of ${event.budget}` : `removed the budget of ${event.budget}`];
    default: return [event.type.replaceAll("_", " ")];
  }
}

const GRAVE = new Set(["lost", "task_returned", "task_cancel_wanted", "budget_spent", "budget_warned", "session_ended"]);

function filterOfEvents() {
  return { types: $("event-types").value, prefix: $("event-prefix").value, agent: $("event-agent").value, subject: $("event-subject").value };
}

function followEvents() {
  if (feed.stream) feed.stream.close();
  feed.waiting = [];
  $("event-list").replaceChildren();
  const filter = filterOfEvents();
  feed.stream = new Stream({
    // Without a place to go on from it begins a little before the end.
    path: async (last) => {
      if (last) return ofProject("events", filter);
      const page = await json(ofProject("events", { limit: 1, types: "project_created" }));
      const tail = Number(String(page.tail).split(".")[0]);
      const [oldest, ordinal] = String(page.oldest || tail).split(".").map(Number);
      // Behind what was dropped, which may be a part of the oldest command.
      const least = ordinal === 0 ? oldest - 1 : oldest;
      return ofProject("events", { ...filter, after: Math.min(Math.max(tail - PAST, least), tail) });
    },
    on: (kind, event) => {
      if (event.type === "changed") keyChanged(event.key);
      feed.waiting.push(event);
      if (feed.waiting.length > LISTED) { feed.waiting.shift(); feed.missed += 1; }
      soon("events");
    },
    again: (why) => { $("events-state").textContent = why === "SLOW_SUBSCRIBER" ? "came too fast: some are left out" : "began anew: some are gone"; },
    lost: (why) => { $("events-state").textContent = why; },
    up: () => { $("events-state").textContent = ""; },
  });
  showEvents();
}

function showEvents() {
  const list = $("event-list");
  if (feed.held) {
    if (feed.waiting.length) $("event-pause").textContent = `Go on (${feed.waiting.length}${feed.missed ? "+" : ""})`;
    return;
  }
  const lines = feed.waiting.splice(0).reverse().map((event) => h("li", { class: GRAVE.has(event.type) ? "grave" : "" }, h("time", { datetime: new Date(event.wall_ms).toISOString() }, clock(event.wall_ms)), h("b", {}, event.author), h("span", {}, tellEvent(event)), h("span", { class: "dim mono" }, event.cursor)));
  feed.missed = 0;
  list.prepend(...lines);
  const none = list.querySelector(".empty");
  if (list.children.length === 0) list.append(h("li", { class: "empty" }, "Nothing has happened that this filter lets through. It is told here as it happens."));
  else if (none && list.children.length > 1) none.remove();
  while (list.children.length > LISTED) list.lastChild.remove();
}

function watchEvents() {
  $("event-types").append(...TYPES.map((type) => h("option", { value: type }, type.replaceAll("_", " "))));
  $("events-form").addEventListener("submit", (event) => { event.preventDefault(); followEvents(); });
  $("event-types").addEventListener("change", followEvents);
  $("event-pause").addEventListener("click", () => {
    feed.held = !feed.held;
    $("event-pause").setAttribute("aria-pressed", String(feed.held));
    $("event-pause").textContent = feed.held ? "Go on" : "Hold still";
    showEvents();
  });
}
