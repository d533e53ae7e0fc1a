// Everything a Phoenix client can do, step by step, over each of its transports: a WebSocket of the
// package `ws`, the one of the machine where there is one, and polling.
//
//   FINNEST_URL=http://127.0.0.1:4000 node --test steps.test.mjs

import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { LongPoll, Presence } from "phoenix";
import WebSocket from "ws";
import {
  answer, call, connect, disconnectAll, listen, listenTo, post, recruit, staff, url, within,
} from "./phoenix.mjs";

afterEach(disconnectAll);

const transports = [["ws", WebSocket], ["polling", LongPoll]];
if (globalThis.WebSocket) transports.splice(1, 0, ["the machine's own", globalThis.WebSocket]);

const bytes = (text) => new TextEncoder().encode(text).buffer;
const text = (buffer) => new TextDecoder().decode(buffer);

async function open(title) {
  const opened = await post("/recruit/job_orders", { title, headcount: 1 });
  assert.equal(opened.status, 201, JSON.stringify(opened.body));
  return opened;
}

const foreign = "org:0199ffff-0000-7000-8000-000000000009:recruit";

// What somebody is told who comes with these parameters, before there is a connection.
function refusal(transport, parameters) {
  const address = `${url}/socket/${transport === LongPoll ? "longpoll" : "websocket"}?vsn=2.0.0&${parameters}`;
  if (transport === LongPoll) return fetch(address).then((response) => response.json()).then((body) => body.status);
  return new Promise((resolve) => {
    const client = new WebSocket(address.replace(/^http/, "ws"));
    client.on("unexpected-response", (_, response) => resolve(response.statusCode));
    client.on("open", () => resolve("open"));
    client.on("error", () => {});
  });
}

async function joined(socket, topic = recruit, params = {}) {
  const channel = socket.channel(topic, params);
  const { status, response } = await answer(channel.join(), "joining");
  assert.equal(status, "ok", JSON.stringify(response));
  return { channel, response };
}

async function userId(token = staff) {
  return (await call("GET", "/accounts/me", undefined, token)).body.user_id;
}

const steps = [
  ["a channel is joined", async ({ enter }) => {
    const { response } = await joined(await enter());
    assert.equal(typeof response.seq, "number");
    assert.equal(response.gap, false);
  }],
  ["an operation is answered with its output", async ({ enter }) => {
    const { channel } = await joined(await enter());
    const asked = answer(channel.push("open_job_order", { title: "Picker", headcount: 2 }), "the answer");
    const { status, response } = await asked;
    assert.deepEqual([status, response.title, response.headcount], ["ok", "Picker", 2]);
  }],
  ["an operation asked in bytes is answered", async ({ enter, transport }) => {
    const { channel } = await joined(await enter());
    const input = bytes(JSON.stringify({ title: "In bytes", headcount: 1 }));
    const { status, response } = await answer(channel.push("open_job_order", input), "the answer");
    assert.equal(status, "ok");
    assert.equal(response instanceof ArrayBuffer, transport !== LongPoll);
    const output = response instanceof ArrayBuffer ? JSON.parse(text(response)) : response;
    assert.equal(output.title, "In bytes");
  }],
  ["a refusal says why", async ({ enter }) => {
    const { channel } = await joined(await enter());
    const asked = answer(channel.push("open_job_order", { title: "Nobody", headcount: 0 }), "the refusal");
    const { status, response } = await asked;
    assert.deepEqual([status, response.reason], ["error", "invalid"]);
  }],
  ["a command with a request id is done once", async ({ enter }) => {
    const { channel } = await joined(await enter());
    const input = { title: "Once", headcount: 1, _request_id: crypto.randomUUID() };
    const first = await answer(channel.push("open_job_order", input), "the answer");
    const second = await answer(channel.push("open_job_order", input), "the answer");
    assert.equal(first.status, "ok");
    assert.deepEqual(first, second);
  }],
  ["what happens is told to everybody on the topic, in its order", async ({ enter }) => {
    const channels = [await joined(await enter()), await joined(await enter())];
    const heard = channels.map(({ channel }) => listen(channel, "job_order_opened"));
    const expected = [];
    for (const title of ["First", "Second", "Third"]) expected.push((await open(title)).body.job_order_id);
    for (const one of heard) {
      for (const id of expected) assert.equal((await one.next()).data.job_order_id, id);
    }
  }],
  ["events come as bytes to whoever asks, where they can be taken", async ({ enter, transport }) => {
    const { channel } = await joined(await enter(), recruit, { binary: true });
    const heard = listen(channel, "job_order_opened");
    const { body } = await open("For bytes");
    const push = await heard.next();
    assert.equal(push instanceof ArrayBuffer, transport !== LongPoll);
    const event = push instanceof ArrayBuffer ? JSON.parse(text(push)) : push;
    assert.equal(event.data.job_order_id, body.job_order_id);
  }],
  ["a topic that there is not is unmatched", async ({ enter }) => {
    const socket = await enter();
    const { status, response } = await answer(socket.channel("room:lobby").join(), "the refusal");
    assert.deepEqual([status, response], ["error", { reason: "unmatched topic" }]);
  }],
  ["a join that is not allowed is refused", async ({ enter }) => {
    const socket = await enter();
    const { status, response } = await answer(socket.channel(foreign).join(), "the refusal");
    assert.deepEqual([status, response.reason], ["error", "forbidden"]);
  }],
  ["heartbeats keep the connection", async ({ enter, transport }) => {
    // Whoever polls sends none.
    if (transport === LongPoll) return;
    const socket = await enter({ heartbeatIntervalMs: 20 });
    let beats = 0;
    const beaten = new Promise((resolve) => {
      socket.onMessage(({ topic, event }) => {
        if (topic === "phoenix" && event === "phx_reply" && ++beats === 5) resolve();
      });
    });
    await within(beaten, "five heartbeats");
    assert.ok(socket.isConnected());
  }],
  ["a ping is answered", async ({ enter }) => {
    const socket = await enter();
    assert.ok((await within(new Promise((resolve) => socket.ping(resolve)), "the ping")) >= 0);
  }],
  ["a connection that breaks is made again, and its channels joined", async ({ enter }) => {
    const socket = await enter();
    const { channel } = await joined(socket);
    const heard = listen(channel, "job_order_opened");
    const errors = new Promise((resolve) => channel.onError(resolve));
    // The first of them is the join that was granted already.
    let joins = 0;
    const again = new Promise((resolve) => {
      channel.joinPush.receive("ok", () => ++joins === 2 && resolve());
    });
    socket.conn.close();
    await within(errors, "the error of the channel");
    await within(again, "joining again");
    const { body } = await open("After the break");
    assert.equal((await heard.next()).data.job_order_id, body.job_order_id);
  }],
  ["what was missed is told, and nothing twice", async ({ enter }) => {
    const socket = await enter({ reconnectAfterMs: () => 500 });
    let last = {};
    const channel = socket.channel(recruit, () => last);
    const heard = listen(channel, "job_order_opened");
    channel.onMessage = (_event, payload) => {
      if (payload?._seq) last = { ...last, last_seq: payload._seq };
      return payload;
    };
    const { response } = await answer(channel.join(), "joining");
    last = { last_seq: response.seq, epoch: response.epoch };
    const expected = [(await open("Before")).body.job_order_id];
    assert.equal((await heard.next()).data.job_order_id, expected[0]);
    const gone = new Promise((resolve) => socket.onClose(resolve));
    socket.conn.close();
    await within(gone, "the end of the connection");
    for (const title of ["First", "Second", "Third"]) expected.push((await open(title)).body.job_order_id);
    for (const id of expected.slice(1)) assert.equal((await heard.next()).data.job_order_id, id);
    const after = await open("After");
    assert.equal((await heard.next()).data.job_order_id, after.body.job_order_id);
    assert.deepEqual(heard.heard, []);
  }],
  ["leaving is answered and ends the channel alone", async ({ enter }) => {
    const socket = await enter();
    const { channel } = await joined(socket);
    const other = (await joined(socket, `user:${await userId()}`)).channel;
    const closed = new Promise((resolve) => channel.onClose(resolve));
    const { status } = await answer(channel.leave(), "leaving");
    await within(closed, "the end of the channel");
    assert.equal(status, "ok");
    assert.equal(other.state, "joined");
  }],
  ["joining again ends the old channel", async ({ enter }) => {
    const socket = await enter();
    const { channel } = await joined(socket);
    const closed = new Promise((resolve) => channel.onClose(resolve));
    await joined(socket);
    await within(closed, "the end of the old channel");
  }],
  ["whoever is there is told once", async ({ enter }) => {
    const seen = await present(await enter());
    const { metas } = seen.list[await userId()];
    assert.ok(metas.some((meta) => meta.device === seen.device && meta.phx_ref));
  }],
  ["who comes and goes is told, each device of a person for itself", async ({ enter }) => {
    const seen = await present(await enter());
    const [phone, laptop] = [await present(await enter()), await present(await enter())];
    await seen.until((devices) => [phone, laptop].every(({ device }) => devices.includes(device)));
    await answer(phone.channel.leave(), "leaving");
    const is = (devices) => !devices.includes(phone.device) && devices.includes(laptop.device);
    await seen.until(is);
  }],
  ["what somebody says of themselves is told", async ({ enter }) => {
    const [seen, other] = [await present(await enter()), await present(await enter())];
    const device = crypto.randomUUID();
    const { status } = await answer(other.channel.push("presence_update", { device }), "the answer");
    assert.equal(status, "ok");
    const is = (devices) => devices.includes(device) && !devices.includes(other.device);
    await seen.until(is);
  }],
  ["a ticket opens one connection, once", async ({ transport }) => {
    const { body } = await post("/accounts/tickets", {});
    const socket = await connect(undefined, { transport, params: { ticket: body.ticket } });
    await joined(socket);
    assert.equal(await within(refusal(transport, `ticket=${body.ticket}`), "the refusal"), 403);
  }],
  ["whoever's token is revoked is sent away and not let in again", async ({ transport }) => {
    const { body } = await post("/accounts/tokens", { label: "to be revoked" });
    const socket = await connect(body.token, { transport });
    await joined(socket);
    const closed = new Promise((resolve) => socket.onClose(resolve));
    const refused = new Promise((resolve) => socket.onError(resolve));
    await call("DELETE", `/accounts/tokens/${body.token_id}`);
    const { code } = await within(closed, "the end of the connection");
    await within(refused, "the refusal");
    assert.equal(code, transport === LongPoll ? 3410 : 4001);
    assert.ok(!socket.isConnected());
  }],
  ["a channel that crashes is joined again and goes on, and its neighbour does not notice", async ({ enter }) => {
    const socket = await enter();
    const { channel: neighbour } = await joined(socket, `user:${await userId()}`);
    let last = null;
    const channel = socket.channel(recruit, () => ({ last_seq: last }));
    channel.onMessage = (_, payload) => {
      last = payload?._seq ?? last;
      return payload;
    };
    const heard = listen(channel, "job_order_opened");
    const joins = listenTo((again) => channel.join().receive("ok", again));
    last = (await joins.next()).seq;

    // What the server says when a channel breaks; nothing in a running platform breaks on request.
    const ref = channel.joinRef();
    const crash = [ref, ref, recruit, "phx_error", { reason: "channel_crash" }];
    socket.conn.onmessage({ data: JSON.stringify(crash) });
    assert.ok(!channel.isJoined());
    const { gap, replayed } = await joins.next();
    const { body } = await open("After it came back");

    assert.deepEqual([gap, replayed], [false, 0]);
    assert.notEqual(channel.joinRef(), ref);
    assert.equal((await heard.next()).data.job_order_id, body.job_order_id);
    assert.ok(neighbour.isJoined());
  }],
  ["whoever shows nothing good is refused", async ({ transport }) => {
    for (const parameters of ["", "ticket=fin_tkt_none", `ticket=${staff}`]) {
      assert.equal(await within(refusal(transport, parameters), "the refusal"), 403, parameters);
    }
  }],
];

// A client that is seen by the others, on a device of its own.
async function present(socket) {
  const device = crypto.randomUUID();
  const channel = socket.channel(recruit, { presence: { device } });
  const presence = new Presence(channel);
  const waiting = new Set();
  const seen = { device, channel, list: {} };
  const devices = () => Object.values(seen.list).flatMap(({ metas }) => metas.map((meta) => meta.device));
  presence.onSync(() => {
    seen.list = presence.state;
    for (const look of [...waiting]) look();
  });
  seen.until = (is) =>
    within(
      new Promise((resolve) => {
        const look = () => is(devices()) && waiting.delete(look) | resolve();
        waiting.add(look);
        look();
      }),
      "the presence",
    );
  const { status, response } = await answer(channel.join(), "joining");
  assert.equal(status, "ok", JSON.stringify(response));
  await seen.until((all) => all.includes(device));
  return seen;
}

for (const [name, transport] of transports) {
  const enter = (options = {}) => connect(staff, { transport, ...options });
  for (const [title, step] of steps) test(`${name}: ${title}`, () => step({ enter, transport }));
}
