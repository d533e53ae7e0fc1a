"""The official Python client of MCP, unmodified, against a running platform.

    FINNEST_URL=http://127.0.0.1:4000 python mcp_client.py

FINNEST_MEMBER_TOKEN is a token of a member of staff; by default that of the demo. Ends with a line
that counts what was checked.
"""

import asyncio
import os
import sys
import traceback
import uuid

import httpx2
from mcp import MCPError
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client

URL = os.environ.get("FINNEST_URL", "http://127.0.0.1:4000")
STAFF = os.environ.get("FINNEST_MEMBER_TOKEN", "demo-recruiter")
MODES = ["auto", "legacy", "2026-07-28"]


def connect(path, mode, token=STAFF, statuses=None):
    async def note(response):
        if statuses is not None:
            statuses.append(response.status_code)

    headers = {"Authorization": f"Bearer {token}"} if token else {}
    hooks = {"response": [note]}
    http = httpx2.AsyncClient(headers=headers, event_hooks=hooks, timeout=30)
    return Client(streamable_http_client(f"{URL}{path}", http_client=http), mode=mode)


async def tools_are_listed(mode):
    async with connect("/mcp/recruit", mode) as client:
        listed = await client.list_tools()
        names = [tool.name for tool in listed.tools]
        assert "recruit_open_job_order" in names, names
        assert all(tool.annotations.read_only_hint is not None for tool in listed.tools)


async def an_answer_is_structured(mode):
    async with connect("/mcp", mode) as client:
        await client.list_tools()
        arguments = {"title": "Welder", "headcount": 1, "request_id": str(uuid.uuid4())}
        first = await client.call_tool("recruit_open_job_order", arguments)
        second = await client.call_tool("recruit_open_job_order", arguments)
        assert not first.is_error, first
        assert first.structured_content["title"] == "Welder", first
        assert first.structured_content == second.structured_content


async def a_refusal_is_a_result(mode):
    async with connect("/mcp/recruit", mode) as client:
        arguments = {"title": "Welder", "headcount": 0}
        refused = await client.call_tool("recruit_open_job_order", arguments)
        assert refused.is_error, refused
        assert refused.structured_content["errors"][0]["pointer"] == "/headcount", refused


async def an_unknown_tool_is_an_error(mode):
    async with connect("/mcp/recruit", mode) as client:
        try:
            answer = await client.call_tool("recruit_fly", {})
        except MCPError as error:
            assert error.error.code == -32602, error
        else:
            raise AssertionError(answer)


async def nobody_is_let_in_without_a_token(mode):
    statuses = []
    try:
        async with connect("/mcp/recruit", mode, token=None, statuses=statuses) as client:
            await client.list_tools()
    except Exception:
        # The client says only that it was an error; what it was told is a matter of the wire.
        assert statuses and set(statuses) == {401}, statuses
    else:
        raise AssertionError("somebody without a token was let in")


CHECKS = [
    tools_are_listed,
    an_answer_is_structured,
    a_refusal_is_a_result,
    an_unknown_tool_is_an_error,
    nobody_is_let_in_without_a_token,
]


async def main():
    failed = 0
    for mode in MODES:
        for check in CHECKS:
            title = f"python, {mode}: {check.__name__.replace('_', ' ')}"
            try:
                await asyncio.wait_for(check(mode), 60)
                print(f"ok: {title}")
            except Exception:
                failed += 1
                print(f"FAILED: {title}")
                traceback.print_exc(file=sys.stdout)
    passed = len(MODES) * len(CHECKS) - failed
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


asyncio.run(main())
