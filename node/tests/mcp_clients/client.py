"""Calls each default tool of a Queenright MCP server by the official client in Python.

client.py stdio|http BINARY DOOR PROJECT: the last line on stdout is {"protocol": …, "called": [tool, …]}.
"""

import asyncio
import json
import os
import sys
from contextlib import AsyncExitStack

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

try:
    from mcp.client.streamable_http import streamable_http_client as http_client
except ImportError:
    from mcp.client.streamable_http import streamablehttp_client as http_client

WAY, BINARY, DOOR, PROJECT = sys.argv[1:]
called = set()


def field(result, *names):
    """A field of a result: its name changed from camel case to snake case between versions of the client."""
    return next(getattr(result, name) for name in names if hasattr(result, name))


async def said(client, tool, /, **arguments):
    called.add(tool)
    result = await client.call_tool(tool, {"project": PROJECT, **arguments})
    structured = field(result, "structuredContent", "structured_content")
    assert structured is not None, f"{tool}: {result}"
    assert structured["ok"] == (not field(result, "isError", "is_error")), f"{tool}: {result}"
    assert json.loads(result.content[0].text) == structured, tool
    return structured


async def call(client, tool, /, **arguments):
    answer = await said(client, tool, **arguments)
    assert answer["ok"], f"{tool}: {answer}"
    return answer["data"]


async def refused(client, code, tool, /, **arguments):
    answer = await said(client, tool, **arguments)
    assert not answer["ok"] and answer["error"]["code"] == code, f"{tool}: {answer}"
    assert answer["next"], f"{tool}: {answer}"


async def drive(session):
    hello = await session.initialize()
    listed = await session.list_tools()
    assert len(listed.tools) == 13, [tool.name for tool in listed.tools]
    started = await call(session, "session_start", name="py", capabilities=["python"])
    own = {"session": started["session"], "token": started["token"]}
    token = started["token"]
    await call(session, "session_heartbeat", **own)
    added = await call(session, "task_add", tasks=[{"title": "work", "requires": ["python"], "payload": {"n": 1}}])
    task = added["tasks"][0]["task"]
    claimed = await call(session, "task_claim", token=token, ids=[task], capabilities=["python"])
    fence = claimed["tasks"][0]["fence"]
    await call(session, "task_update", task=task, fence=fence, token=token, progress=50, note="half")
    await refused(session, "FENCED", "task_finish", task=task, fence=1, token=token, outcome="done")
    await call(session, "task_finish", task=task, fence=fence, token=token, outcome="done", result={"n": 2})
    shown = await call(session, "task_get", ids=[task])
    assert shown["tasks"][0]["finished"]["result"] == {"n": 2}, shown
    wants = [{"resource": f"file:{own['session']}/**"}]
    got = await call(session, "reserve", resources=wants, token=token)
    check = await call(session, "reserve_check", resources=wants)
    assert check["conflicts"][0]["reservation"] == got["reservation"], check
    await refused(session, "HELD", "reserve", resources=wants)
    await call(session, "reserve_release", token=token, all=True)
    key = f"notes/{own['session']}"
    await call(session, "memory", op="put", key=key, value="a")
    proposal = {"reads": [{"key": key, "revision": 1}], "writes": [{"key": key, "put": "b"}]}
    committed = await call(session, "propose", **proposal)
    assert committed["verdict"] == "committed", committed
    await refused(session, "CONFLICT", "propose", **proposal)
    found = await call(session, "memory", op="get", key=key)
    assert found["value"] == "b", found
    page = await call(session, "events", types=["task_finished"], subject=f"task:{task}")
    assert page["events"][0]["task"] == task, page
    resource = await session.read_resource(f"queenright://tasks/{task}?project={PROJECT}")
    assert json.loads(resource.contents[0].text)["state"] == "done", resource
    templates = await session.list_resource_templates()
    assert len(field(templates, "resourceTemplates", "resource_templates")) == 3
    prompt = await session.get_prompt("handoff", {"task": task})
    assert task in prompt.messages[0].content.text
    await call(session, "session_heartbeat", close=True, **own)
    return field(hello, "protocolVersion", "protocol_version")


async def main():
    async with AsyncExitStack() as stack:
        if WAY == "stdio":
            server = StdioServerParameters(command=BINARY, args=["mcp", "--node", DOOR], env=dict(os.environ))
            streams = await stack.enter_async_context(stdio_client(server))
        else:
            streams = await stack.enter_async_context(http_client(f"http://{DOOR}/mcp"))
        session = await stack.enter_async_context(ClientSession(streams[0], streams[1]))
        protocol = await drive(session)
    print(json.dumps({"protocol": str(protocol), "called": sorted(called)}))


asyncio.run(main())
