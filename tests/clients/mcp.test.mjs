// The two official TypeScript clients of MCP, unmodified, against a running platform.
//
//   FINNEST_URL=http://127.0.0.1:4000 node --test mcp.test.mjs
//
// FINNEST_MEMBER_TOKEN is a token of a member of staff, FINNEST_WORKER_TOKEN one of a worker; by
// default those of the demo.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";
import * as modern from "@modelcontextprotocol/client";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const url = process.env.FINNEST_URL ?? "http://127.0.0.1:4000";
const staff = process.env.FINNEST_MEMBER_TOKEN ?? "demo-recruiter";
const worker = process.env.FINNEST_WORKER_TOKEN ?? "demo-worker";

const kinds = [
  ["sdk", Client, StreamableHTTPClientTransport, {}],
  ["client", modern.Client, modern.StreamableHTTPClientTransport, {}],
  [
    "client of 2026-07-28",
    modern.Client,
    modern.StreamableHTTPClientTransport,
    { versionNegotiation: { mode: { pin: "2026-07-28" } } },
  ],
];

for (const [kind, Kind, Transport, options] of kinds) {
  const connect = async (path, token) => {
    const client = new Kind({ name: "finnest-clients", version: "1.0.0" }, options);
    const headers = token ? { Authorization: `Bearer ${token}` } : {};
    await client.connect(new Transport(new URL(`${url}${path}`), { requestInit: { headers } }));
    return client;
  };

  test(`${kind}: a domain's tools are listed with their schemas and hints`, async () => {
    const client = await connect("/mcp/recruit", staff);
    const { tools } = await client.listTools();
    const open = tools.find((tool) => tool.name === "recruit_open_job_order");
    assert.ok(open, tools.map((tool) => tool.name).join());
    assert.equal(open.title, "Open job order");
    assert.equal(open.annotations.readOnlyHint, false);
    assert.ok(open.inputSchema.properties.request_id);
    assert.ok(open.outputSchema.properties.job_order_id);
    assert.ok(tools.every((tool) => tool.name.startsWith("recruit_")));
    await client.close();
  });

  test(`${kind}: an answer is structured, and a request id given twice has one effect`, async () => {
    const client = await connect("/mcp", staff);
    await client.listTools(); // from then on the client checks answers against the schemas
    const name = "recruit_open_job_order";
    const args = { title: "Forklift driver", headcount: 2, request_id: randomUUID() };
    const first = await client.callTool({ name, arguments: args });
    const second = await client.callTool({ name, arguments: args });
    assert.ok(!first.isError, JSON.stringify(first));
    assert.equal(first.structuredContent.title, "Forklift driver");
    assert.equal(second.structuredContent.job_order_id, first.structuredContent.job_order_id);
    assert.deepEqual(JSON.parse(first.content[0].text), first.structuredContent);
    await client.close();
  });

  test(`${kind}: a refusal is a result that blames a field`, async () => {
    const client = await connect("/mcp/recruit", staff);
    const args = { title: "Driver", headcount: 0 };
    const refused = await client.callTool({ name: "recruit_open_job_order", arguments: args });
    assert.equal(refused.isError, true);
    assert.equal(refused.structuredContent.kind, "invalid");
    assert.equal(refused.structuredContent.errors[0].pointer, "/headcount");
    await client.close();
  });

  test(`${kind}: an unknown tool is an error of the protocol`, async () => {
    const client = await connect("/mcp/recruit", staff);
    const call = client.callTool({ name: "recruit_fly", arguments: {} });
    await assert.rejects(call, (error) => error.code === -32602);
    await client.close();
  });

  test(`${kind}: a worker sees no tool of recruit`, async () => {
    const client = await connect("/mcp/recruit", worker);
    const { tools } = await client.listTools();
    assert.deepEqual(tools, []);
    await client.close();
  });

  test(`${kind}: the catalogue names the servers`, async () => {
    const client = await connect("/mcp", staff);
    const { contents } = await client.readResource({ uri: "finnest://catalogue" });
    const { servers } = JSON.parse(contents[0].text);
    assert.ok(servers.some((server) => server.path === "/mcp/recruit"));
    await client.close();
  });

  test(`${kind}: without a token nobody is let in`, async () => {
    const isAsked = (error) => /401|unauthorized|token/i.test(`${error.code} ${error.message}`);
    await assert.rejects(connect("/mcp/recruit"), isAsked);
  });
}

test("the metadata that a refusal names say which scopes open the server", async () => {
  const refused = await fetch(`${url}/mcp/recruit`, { method: "POST" });
  assert.equal(refused.status, 401);
  const [, metadata] = /resource_metadata="([^"]+)"/.exec(refused.headers.get("www-authenticate"));
  const told = await (await fetch(metadata)).json();
  assert.equal(told.resource, `${url}/mcp/recruit`);
  assert.deepEqual(told.scopes_supported, ["mcp:recruit:read", "mcp:recruit:write"]);
});
