// Elements, numbers and times as people read them.

const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";

/** Makes an element. Text becomes text, never markup: names and values are what anybody put there. */
function h(name, props, ...children) {
  const svg = name.startsWith("svg:");
  const element = svg ? document.createElementNS(SVG, name.slice(4)) : document.createElement(name);
  for (const [key, value] of Object.entries(props || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  for (const child of children.flat(3)) {
    if (child !== undefined && child !== null && child !== false) element.append(child);
  }
  return element;
}

/** Puts elements in place, by key: one whose content is the same stays, with its focus and its open details. */
function place(parent, items, key, make) {
  const kept = parent.kept || (parent.kept = new Map());
  const next = new Map();
  let before = null;
  for (const item of items) {
    const name = key(item);
    const sign = JSON.stringify(item);
    const old = kept.get(name);
    let element = old && old.sign === sign ? old.element : null;
    if (!element) {
      element = make(item);
      if (old) {
        const open = [...old.element.querySelectorAll("details")].map((one) => one.open);
        [...element.querySelectorAll("details")].forEach((one, at) => { one.open = open[at] || one.open; });
        const focused = old.element.contains(document.activeElement) && document.activeElement;
        const at = focused ? [...old.element.querySelectorAll("button, a, summary")].indexOf(focused) : -1;
        old.element.replaceWith(element);
        if (at >= 0) {
          const found = element.querySelectorAll("button, a, summary")[at];
          if (found) found.focus();
        }
      }
    }
    next.set(name, { element, sign });
    const wanted = before ? before.nextSibling : parent.firstChild;
    if (element !== wanted) parent.insertBefore(element, wanted);
    before = element;
  }
  for (const [name, old] of kept) {
    const now = next.get(name);
    if (!now || now.element !== old.element) old.element.remove();
  }
  // What stands behind the last one is of an earlier, other content.
  while (before ? before.nextSibling : parent.firstChild) (before ? before.nextSibling : parent.firstChild).remove();
  parent.kept = next;
}

/** Puts one content in place if it is not there already. */
function put(parent, content, make) {
  place(parent, [content], () => "only", make);
}

/** A table. Columns are [title, class]; a row has its key first. */
function table(caption, columns, rows) {
  return h("table", {},
    h("caption", { class: "sr" }, caption),
    h("thead", {}, h("tr", {}, columns.map(([title, kind]) => h("th", { scope: "col", class: kind }, title)))),
    h("tbody", {}, rows.map((cells) => h("tr", { class: cells.kind }, cells.map((cell, at) =>
      at === 0 ? h("th", { scope: "row" }, cell) : h("td", { class: columns[at][1] }, cell))))));
}

const empty = (...text) => h("p", { class: "empty" }, ...text);
const code = (text) => h("code", {}, text);

/** A command that is copied by a press. */
function command(text) {
  const button = h("button", { type: "button", class: "command", title: "Copy" }, text);
  button.setAttribute("aria-label", `Copy the command: ${text}`);
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.dataset.said = "copied";
    } catch {
      const range = document.createRange();
      range.selectNodeContents(button);
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      button.dataset.said = "selected";
    }
    setTimeout(() => { delete button.dataset.said; }, 1500);
  });
  return button;
}

/** A word that a shell takes as one. */
const shell = (word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${String(word).replaceAll("'", "'\\''")}'`);

const number = (value) => (value === undefined || value === null ? "–" : Number(value).toLocaleString("en-US").replaceAll(",", "\u202f"));
const many = (count, one, more) => `${number(count)} ${count === 1 ? one : more || `${one}s`}`;

function bytes(value) {
  if (value === undefined || value === null) return "–";
  const units = ["B", "kB", "MB", "GB", "TB"];
  let at = 0;
  while (value >= 1000 && at < units.length - 1) { value /= 1000; at += 1; }
  return `${at === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[at]}`;
}

function micros(value) {
  if (value === undefined || value === null) return "–";
  if (value < 1000) return `${Math.round(value)} µs`;
  if (value < 1e6) return `${(value / 1000).toFixed(value < 1e4 ? 1 : 0)} ms`;
  return `${(value / 1e6).toFixed(1)} s`;
}

function span(ms) {
  if (ms < 0) ms = 0;
  if (ms < 1000) return "under 1 s";
  const seconds = Math.floor(ms / 1000);
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} d`;
}

/** A span in steps, so that what shows it does not change every second. */
function roughly(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const step = seconds < 60 ? 10 : 60;
  return seconds < 10 ? "a few s" : span(Math.floor(seconds / step) * step * 1000);
}

const clock = (wallMs) => new Date(wallMs).toLocaleTimeString("en-GB");
const holder = (of) => (of ? of.name : "nobody");
