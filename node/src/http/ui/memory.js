// The collective memory: folders by the slashes of keys, values, and what is still known of their history.

/** How many keys one look brings, and how much of a value is shown. */
const KEYS = 500;
const SHOWN_BYTES = 65536;
const browse = { prefix: "", keys: [], next: null, shown: null, wanted: 0 };

async function showKeys(prefix, more) {
  const wanted = (browse.wanted += 1);
  if (!more) Object.assign(browse, { prefix, keys: [], next: null });
  $("memory-prefix").value = prefix;
  try {
    const page = await json(ofProject("memory", { prefix, limit: KEYS, after: more ? browse.next : undefined, consistency: "local" }));
    if (wanted !== browse.wanted) return;
    browse.keys = [...browse.keys, ...page.keys];
    browse.next = page.next || null;
    drawKeys();
  } catch (error) {
    if (wanted === browse.wanted) $("memory-keys").replaceChildren(h("p", { class: "bad-text", role: "alert" }, error.message));
  }
}

function drawKeys() {
  const { prefix, keys, next } = browse;
  const base = prefix.slice(0, prefix.lastIndexOf("/") + 1);
  const folders = new Map();
  const here = [];
  for (const key of keys) {
    const rest = key.key.slice(base.length);
    const slash = rest.indexOf("/");
    if (slash >= 0 && slash < rest.length - 1) {
      const name = base + rest.slice(0, slash + 1);
      folders.set(name, (folders.get(name) || 0) + 1);
    } else here.push(key);
  }
  const up = base.slice(0, base.slice(0, -1).lastIndexOf("/") + 1);
  const steps = base.split("/").slice(0, -1);
  const crumbs = h("p", { class: "crumbs" }, h("button", { type: "button", class: "link", onclick: () => showKeys("") }, state.project), steps.map((step, at) => [" / ", h("button", { type: "button", class: "link", onclick: () => showKeys(`${steps.slice(0, at + 1).join("/")}/`) }, step || "(empty)")]));
  const list = h("ul", { class: "keys" },
    base && h("li", {}, h("button", { type: "button", onclick: () => showKeys(up) }, "↑ ", "up")),
    [...folders].sort().map(([name, count]) => h("li", {}, h("button", { type: "button", class: "folder", onclick: () => showKeys(name) }, h("span", { class: "mono" }, name.slice(base.length)), h("span", { class: "dim" }, ` ${number(count)}${next ? "+" : ""}`)))),
    here.map((key) => h("li", {}, h("button", { type: "button", "data-key": key.key, "aria-current": browse.shown === key.key ? "true" : undefined, onclick: () => showValue(key) }, h("span", { class: "mono" }, key.key.slice(base.length) || key.key), h("span", { class: "dim" }, ` r${key.revision}, ${bytes(key.bytes)}`)))),
    next && h("li", {}, h("button", { type: "button", onclick: () => showKeys(prefix, true) }, "More keys")));
  const nothing = prefix ? empty("No key begins with ", code(prefix), ".") : empty("Nothing is remembered in this project yet. Put something: ", command(`queenright memory put greeting hello${inProject()}`));
  $("memory-keys").replaceChildren(crumbs, keys.length === 0 ? nothing : list);
}

async function showValue(key) {
  browse.shown = key.key;
  for (const button of $("memory-keys").querySelectorAll("[data-key]")) {
    if (button.dataset.key === key.key) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
  }
  const place = $("memory-value");
  try {
    const path = key.key.split("/").map(encodeURIComponent).join("/");
    const [response, history] = await Promise.all([
      ask(ofProject(`memory/${path}`, { consistency: "local" })),
      json(ofProject("events", { subject: `key:${key.key}`, types: "changed", limit: 1000 })).catch(() => ({ events: [] })),
    ]);
    const value = new Uint8Array(await response.arrayBuffer());
    const revision = (response.headers.get("etag") || "").replaceAll('"', "");
    place.replaceChildren(
      h("h3", { class: "mono" }, key.key),
      h("p", { class: "dim" }, `revision ${revision || key.revision}, ${bytes(value.length)}`, (key.tags || []).map((tag) => h("span", { class: "pill" }, tag))),
      h("pre", { tabindex: "0", "aria-label": "Value" }, asText(value)),
      h("h3", {}, "History"),
      history.events.length === 0 ? h("p", { class: "dim" }, "Its changes are older than the events that are kept.") : h("ol", { class: "history" }, [...history.events].reverse().slice(0, 100).map((event) => h("li", {}, h("b", {}, event.deleted ? `deleted at r${event.revision}` : `r${event.revision}`), ` by ${event.author}, `, h("time", { datetime: new Date(event.wall_ms).toISOString() }, new Date(event.wall_ms).toLocaleString("en-GB")), h("span", { class: "dim" }, ` ${bytes(event.bytes)}${event.hash ? `, ${event.hash.slice(0, 12)}` : ""}`)))));
  } catch (error) {
    place.replaceChildren(h("h3", { class: "mono" }, key.key), h("p", { class: "bad-text" }, error.message));
  }
}

function asText(value) {
  const some = value.subarray(0, SHOWN_BYTES);
  const more = value.length > SHOWN_BYTES ? `\n… ${bytes(value.length - SHOWN_BYTES)} more` : "";
  try {
    const text = new TextDecoder("utf-8", { fatal: value.length <= SHOWN_BYTES }).decode(some);
    if (!text.includes("\0")) {
      try {
        if (!more && /^\s*[[{]/.test(text)) return JSON.stringify(JSON.parse(text), null, 2);
      } catch { /* It only looks like JSON. */ }
      return (text || "(empty)") + more;
    }
  } catch { /* No text: as bytes. */ }
  const lines = [];
  for (let at = 0; at < Math.min(some.length, 4096); at += 16) lines.push(`${at.toString(16).padStart(6, "0")}  ${[...some.subarray(at, at + 16)].map((byte) => byte.toString(16).padStart(2, "0")).join(" ")}`);
  return lines.join("\n") + (value.length > 4096 ? `\n… ${bytes(value.length - 4096)} more` : "");
}

/** A key that is looked at has changed: the list and the value are shown anew, not more than once a second. */
let again = null;
let shownChanged = false;
function keyChanged(key) {
  if (key === browse.shown) shownChanged = true;
  if (again || !(shownChanged || key.startsWith(browse.prefix))) return;
  again = setTimeout(() => {
    again = null;
    // The list is empty while it is fetched.
    const shown = browse.keys.find((one) => one.key === browse.shown) || { key: browse.shown };
    if (shownChanged) showValue(shown);
    shownChanged = false;
    showKeys(browse.prefix);
  }, 1000);
}

function watchMemory() {
  $("memory-form").addEventListener("submit", (event) => { event.preventDefault(); showKeys($("memory-prefix").value); });
}
