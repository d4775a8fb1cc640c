// Calls each default tool of a Queenright MCP server by the official client in TypeScript.
//
// client.mjs stdio|http BINARY DOOR PROJECT: the last line on stdout is {"protocol": …, "called": [tool, …]}.

import assert from "node:assert/strict";
import process from "node:process";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const [way, binary, door, project] = process.argv.slice(2);
const called = new Set();
const client = new Client({ name: "ts", version: "1" });

async function said(tool, args) {
  called.add(tool);
  const result = await client.callTool({ name: tool, arguments: { project, ...args } });
  const structured = result.structuredContent;
  assert.equal(structured.ok, !result.isError, `${tool}: ${JSON.stringify(result)}`);
  assert.deepEqual(JSON.parse(result.content[0].text), structured);
  return structured;
}

async function call(tool, args) {
  const answer = await said(tool, args);
  assert.ok(answer.ok, `${tool}: ${JSON.stringify(answer)}`);
  return answer.data;
}

async function refused(code, tool, args) {
  const answer = await said(tool, args);
  assert.equal(answer.error?.code, code, `${tool}: ${JSON.stringify(answer)}`);
  assert.ok(answer.next[0]);
}

const transport =
  way === "stdio"
    ? new StdioClientTransport({ command: binary, args: ["mcp", "--node", door], env: { ...process.env } })
    : new StreamableHTTPClientTransport(new URL(`http://${door}/mcp`));
let protocol;
const setProtocolVersion = transport.setProtocolVersion?.bind(transport);
transport.setProtocolVersion = (version) => {
  protocol = version;
  setProtocolVersion?.(version);
};
await client.connect(transport);
assert.equal(client.getServerVersion().name, "queenright");
assert.equal((await client.listTools()).tools.length, 13);

const started = await call("session_start", { name: "ts", capabilities: ["ts"] });
const { session, token } = started;
await call("session_heartbeat", { session, token });
const added = await call("task_add", { tasks: [{ title: "work", requires: ["ts"], payload: { n: 1 } }] });
const task = added.tasks[0].task;
const claimed = await call("task_claim", { token, ids: [task], capabilities: ["ts"] });
const fence = claimed.tasks[0].fence;
await call("task_update", { task, fence, token, progress: 50, note: "half" });
await refused("FENCED", "task_finish", { task, fence: 1, token, outcome: "done" });
await call("task_finish", { task, fence, token, outcome: "done", result: { n: 2 } });
const shown = await call("task_get", { ids: [task] });
assert.deepEqual(shown.tasks[0].finished.result, { n: 2 });
const resources = [{ resource: `file:${session}/**` }];
const got = await call("reserve", { resources, token });
const check = await call("reserve_check", { resources });
assert.equal(check.conflicts[0].reservation, got.reservation);
await refused("HELD", "reserve", { resources });
await call("reserve_release", { token, all: true });
const key = `notes/${session}`;
await call("memory", { op: "put", key, value: "a" });
const proposal = { reads: [{ key, revision: 1 }], writes: [{ key, put: "b" }] };
assert.equal((await call("propose", proposal)).verdict, "committed");
await refused("CONFLICT", "propose", proposal);
assert.equal((await call("memory", { op: "get", key })).value, "b");
const page = await call("events", { types: ["task_finished"], subject: `task:${task}` });
assert.equal(page.events[0].task, task);
const read = await client.readResource({ uri: `queenright://tasks/${task}?project=${project}` });
assert.equal(JSON.parse(read.contents[0].text).state, "done");
assert.equal((await client.listResourceTemplates()).resourceTemplates.length, 3);
const prompt = await client.getPrompt({ name: "handoff", arguments: { task } });
assert.ok(prompt.messages[0].content.text.includes(task));
await call("session_heartbeat", { session, token, close: true });
await client.close();
console.log(JSON.stringify({ protocol: protocol ?? "unknown", called: [...called].sort() }));
