// The unmodified npm `phoenix` client against a running platform: what one does with it.
//
//   FINNEST_URL=http://127.0.0.1:4000 node --test phoenix.test.mjs

import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import WebSocket from "ws";
import {
  answer, connect, disconnectAll, listen, operator, post, recruit, staff, url, within,
} from "./phoenix.mjs";

afterEach(disconnectAll);

test("a job order opened over REST is pushed to whoever joined its domain", async () => {
  const socket = await connect(staff);
  const channel = socket.channel(recruit);
  const opened = listen(channel, "job_order_opened");
  const { status, response } = await answer(channel.join(), "joining");
  assert.equal(status, "ok");

  const created = await post("/recruit/job_orders", { title: "Forklift driver", headcount: 3 });
  const push = await opened.next();

  assert.equal(created.status, 201);
  assert.equal(push.data.job_order_id, created.body.job_order_id);
  assert.equal(push.domain, "recruit");
  assert.ok(push.position > response.seq);
  assert.match(push.recorded_at, /^\d{4}-\d\d-\d\dT/);
});

test("an operation is called as a message and answered with its output", async () => {
  const socket = await connect(staff);
  const channel = socket.channel(recruit);
  await answer(channel.join(), "joining");

  const input = { title: "Picker", headcount: 1 };
  const { status, response } = await answer(channel.push("open_job_order", input), "the answer");

  assert.equal(status, "ok");
  assert.equal(response.title, "Picker");
  assert.match(response.job_order_id, /^[0-9a-f-]{36}$/);
});

test("a refusal is the same as on every other surface", async () => {
  const socket = await connect(staff);
  const channel = socket.channel(recruit);
  await answer(channel.join(), "joining");
  const input = { title: "Nobody", headcount: 0 };

  const { status, response } = await answer(channel.push("open_job_order", input), "the refusal");
  const over = await post("/recruit/job_orders", input);
  const unknown = await answer(channel.push("no_such_thing", {}), "the refusal");

  assert.equal(status, "error");
  assert.equal(over.status, 422);
  assert.equal(response.code, over.body.code);
  assert.deepEqual(response.errors, over.body.errors);
  assert.equal(unknown.response.code, "unknown_operation");
});

test("answers of one channel come in the order of the questions", async () => {
  const socket = await connect(staff);
  const channel = socket.channel(recruit);
  await answer(channel.join(), "joining");
  const order = [];

  const pushes = [1, 2, 3, 4, 5].map((headcount) =>
    answer(channel.push("open_job_order", { title: "Picker", headcount }), "an answer").then(
      ({ response }) => order.push(response.headcount),
    ),
  );
  await Promise.all(pushes);

  assert.deepEqual(order, [1, 2, 3, 4, 5]);
});

test("another organisation's topic is refused, and an unknown one unmatched", async () => {
  const socket = await connect(staff);
  const foreign = "org:0199ffff-0000-7000-8000-000000000009:recruit";

  const refused = await answer(socket.channel(foreign).join(), "the refusal");
  const unmatched = await answer(socket.channel("room:lobby").join(), "the refusal");
  const tree = await answer(socket.channel("system:supervision").join(), "the refusal");

  assert.deepEqual([refused.status, refused.response.reason], ["error", "forbidden"]);
  assert.deepEqual([unmatched.status, unmatched.response.reason], ["error", "unmatched topic"]);
  assert.deepEqual([tree.status, tree.response.reason], ["error", "forbidden"]);
});

test("an unknown token does not connect", async () => {
  const failed = new Promise((resolve) => {
    const client = new WebSocket(`${url.replace(/^http/, "ws")}/socket/websocket?vsn=2.0.0&token=stolen`);
    client.on("unexpected-response", (_, response) => resolve(response.statusCode));
    client.on("error", () => {});
  });

  assert.equal(await within(failed, "the refusal"), 403);
});

test("heartbeats keep the connection, and a ping is answered", async () => {
  const socket = await connect(staff, { heartbeatIntervalMs: 20 });
  let beats = 0;
  const beaten = new Promise((resolve) => {
    socket.onMessage(({ topic, event }) => {
      if (topic === "phoenix" && event === "phx_reply" && ++beats === 5) resolve();
    });
  });

  await within(beaten, "five heartbeats");
  const took = await within(new Promise((resolve) => socket.ping(resolve)), "the ping");

  assert.ok(took >= 0);
  assert.ok(socket.isConnected());
});

test("an operator sees the tree and its changes", async () => {
  const socket = await connect(operator);
  const channel = socket.channel("system:supervision");
  const changes = listen(channel, "supervision");

  const { status, response } = await answer(channel.join(), "joining");
  const input = { path: "root/edge/acceptor", reason: "the npm client tries it" };
  const killed = await answer(channel.push("kill_process", input), "the kill");

  assert.equal(status, "ok");
  assert.equal(response.tree.path, "root");
  assert.equal(killed.status, "ok", JSON.stringify(killed.response));
  for (let change = await changes.next(); change.path !== input.path; ) change = await changes.next();
});

test("killing what carries the pushes ends no channel and loses no push", async () => {
  const watching = await connect(operator);
  const supervision = watching.channel("system:supervision");
  const changes = listen(supervision, "supervision");
  await answer(supervision.join(), "joining");
  const socket = await connect(staff);
  const channel = socket.channel(recruit);
  const opened = listen(channel, "job_order_opened");
  let ended = 0;
  channel.onError(() => ended++);
  channel.onClose(() => ended++);
  await answer(channel.join(), "joining");
  const expected = [];

  for (const path of ["root/bus/bridge", "root/edge/acceptor", "root/store/sealer"]) {
    const input = { path, reason: "the npm client tries it" };
    const killed = await answer(supervision.push("kill_process", input), `killing ${path}`);
    assert.equal(killed.status, "ok", JSON.stringify(killed.response));
    const created = await post("/recruit/job_orders", { title: `After ${path}`, headcount: 1 });
    assert.equal(created.status, 201, JSON.stringify(created.body));
    expected.push(created.body.job_order_id);
  }

  const pushed = [];
  for (const _ of expected) pushed.push((await opened.next()).data.job_order_id);
  assert.deepEqual(pushed, expected);
  assert.equal(ended, 0);
  assert.ok(changes.heard.length > 0);
});

test("whoever loses the connection comes back and has missed nothing", async () => {
  const socket = await connect(staff, { reconnectAfterMs: () => 1_000 });
  let lastSeq = null;
  const channel = socket.channel(recruit, () => ({ last_seq: lastSeq }));
  const opened = listen(channel, "job_order_opened");
  channel.onMessage = (_event, payload) => {
    if (payload?.position) lastSeq = payload.position;
    return payload;
  };
  const { response } = await answer(channel.join(), "joining");
  lastSeq = response.seq;
  const before = await post("/recruit/job_orders", { title: "Before", headcount: 1 });
  assert.equal((await opened.next()).data.job_order_id, before.body.job_order_id);

  const gone = new Promise((resolve) => socket.onClose(resolve));
  socket.conn.terminate();
  await within(gone, "losing the connection");
  const meanwhile = await post("/recruit/job_orders", { title: "Meanwhile", headcount: 1 });
  const again = await opened.next();
  const after = await post("/recruit/job_orders", { title: "After", headcount: 1 });

  assert.equal(again.data.job_order_id, meanwhile.body.job_order_id);
  assert.equal((await opened.next()).data.job_order_id, after.body.job_order_id);
  assert.deepEqual(opened.heard, []);
});

test("joining again closes the old channel; leaving ends it", async () => {
  const socket = await connect(staff);
  const first = socket.channel(recruit);
  await answer(first.join(), "joining");
  const closed = new Promise((resolve) => first.onClose(resolve));

  const second = socket.channel(recruit);
  const joined = await answer(second.join(), "joining again");
  const left = await answer(second.leave(), "leaving");

  await within(closed, "the close of the old channel");
  assert.equal(joined.status, "ok");
  assert.equal(left.status, "ok");
});
