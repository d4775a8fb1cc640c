// The door of the node: questions, and streams that go on behind the last event when they break.

const TOKEN = "queenright-token";
const state = { parts: {}, project: "default", connected: false, closed: false };

const token = () => sessionStorage.getItem(TOKEN);

class DoorError extends Error {
  constructor(status, problem) {
    super(problem.detail || `the door answered ${status}`);
    this.status = status;
    this.code = problem.code;
    this.problem = problem;
  }
}

async function ask(path, options = {}) {
  const headers = { ...options.headers };
  const shown = token();
  if (shown) headers.authorization = `Bearer ${shown}`;
  const response = await fetch(path, { ...options, headers, cache: "no-store", credentials: "omit" });
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({}));
  if (response.status === 401 || response.status === 403) askForToken(problem.detail);
  throw new DoorError(response.status, problem);
}

const json = async (path) => (await ask(path)).json();
const ofProject = (path, query) => {
  const given = Object.entries(query || {}).filter(([, value]) => value !== "" && value !== undefined && value !== null);
  const text = new URLSearchParams(given).toString();
  return `/v1/projects/${encodeURIComponent(state.project)}/${path}${text ? `?${text}` : ""}`;
};

function askForToken(why) {
  const dialog = $("token-dialog");
  if (token()) $("token-why").textContent = why || "the token was refused";
  if (!dialog.open) dialog.showModal();
}

function watchToken() {
  $("token-form").addEventListener("submit", (event) => {
    event.preventDefault();
    sessionStorage.setItem(TOKEN, $("token").value.trim());
    $("token").value = "";
    $("token-dialog").close();
    $("forget").hidden = false;
    begin();
  });
  // Without a token there is nothing to see behind it.
  $("token-dialog").addEventListener("cancel", (event) => event.preventDefault());
  $("forget").addEventListener("click", () => { sessionStorage.removeItem(TOKEN); location.reload(); });
  $("forget").hidden = !token();
}

/** Follows a stream of server-sent events until it is stopped: `fetch`, since an EventSource shows no token. */
class Stream {
  constructor({ path, on, again, lost, up }) {
    Object.assign(this, { path, on, again, lost, up });
    this.last = null;
    this.stop = new AbortController();
    this.run();
  }

  close() {
    this.closed = true;
    this.stop.abort();
  }

  async run() {
    let wait = 250;
    while (!this.closed) {
      try {
        await this.once(() => { wait = 250; });
        if (this.closed) return;
        if (this.lost) this.lost("the door has closed the stream");
      } catch (error) {
        if (this.closed) return;
        if (error.status === 401 || error.status === 403) {
          // Who shows a token begins anew.
          this.close();
          return;
        }
        // What was missed is gone, or was of another cluster: begin anew.
        if (["CURSOR_EXPIRED", "CURSOR_AHEAD", "CURSOR_LOST", "SLOW_SUBSCRIBER"].includes(error.code)) {
          this.last = null;
          if (this.again) await this.again(error.code);
        } else if (this.lost) {
          this.lost(error.status ? error.message : "the node does not answer");
        }
      }
      await new Promise((resolve) => { setTimeout(resolve, wait); });
      wait = Math.min(wait * 2, 5000);
    }
  }

  async once(ready) {
    const headers = { accept: "text/event-stream" };
    if (this.last) headers["last-event-id"] = this.last;
    const path = typeof this.path === "function" ? await this.path(this.last) : this.path;
    const response = await ask(path, { headers, signal: this.stop.signal });
    if (this.up) this.up();
    ready();
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      text += value;
      for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
        this.message(text.slice(0, end));
        text = text.slice(end + 2);
      }
    }
  }

  message(text) {
    let kind = "message";
    const data = [];
    for (const line of text.split("\n")) {
      if (line.startsWith("id: ")) this.last = line.slice(4);
      else if (line.startsWith("event: ")) kind = line.slice(7);
      else if (line.startsWith("data: ")) data.push(line.slice(6));
    }
    if (data.length === 0) return;
    const said = JSON.parse(data.join("\n"));
    if (kind === "error") throw new DoorError(said.status, said);
    this.on(kind, said);
  }
}
