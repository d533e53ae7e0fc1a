// What the tests with the npm `phoenix` client share.
//
// FINNEST_TOKEN is an operator's token, FINNEST_MEMBER_TOKEN one of a member of staff, FINNEST_ORG
// their organisation; by default those of the demo.

import { Socket } from "phoenix";
import WebSocket from "ws";

export const url = process.env.FINNEST_URL ?? "http://127.0.0.1:4000";
export const operator = process.env.FINNEST_TOKEN ?? "demo-operator";
export const staff = process.env.FINNEST_MEMBER_TOKEN ?? "demo-recruiter";
export const org = process.env.FINNEST_ORG ?? "0199a000-0000-7000-8000-000000000001";
export const recruit = `org:${org}:recruit`;

// Longer than anything here may take.
const PATIENCE_MS = 10_000;

const sockets = [];

export function disconnectAll() {
  while (sockets.length) sockets.pop().disconnect();
}

export function within(promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: not within ${PATIENCE_MS} ms`)), PATIENCE_MS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

export function connect(token, options = {}) {
  const socket = new Socket(`${url.replace(/^http/, "ws")}/socket`, {
    transport: WebSocket,
    authToken: token,
    reconnectAfterMs: () => 50,
    rejoinAfterMs: () => 50,
    ...options,
  });
  sockets.push(socket);
  const opened = new Promise((resolve) => socket.onOpen(resolve));
  socket.connect();
  return within(opened, "connecting").then(() => socket);
}

// Settles with { status, response }, whatever the status is.
export function answer(push, what) {
  const settled = new Promise((resolve) => {
    for (const status of ["ok", "error", "timeout"]) {
      push.receive(status, (response) => resolve({ status, response }));
    }
  });
  return within(settled, what);
}

// Remembers the pushes of an event, and hands them out one by one.
export function listen(channel, event) {
  return listenTo((hear) => channel.on(event, hear), `a push of ${event}`);
}

// Remembers what is told by whatever `tell` is given, and hands it out one by one.
export function listenTo(tell, what = "what is told") {
  const heard = [];
  const waiting = [];
  tell((said) => {
    const next = waiting.shift();
    if (next) next(said);
    else heard.push(said);
  });
  return {
    next: () =>
      within(
        heard.length ? Promise.resolve(heard.shift()) : new Promise((resolve) => waiting.push(resolve)),
        what,
      ),
    heard,
  };
}

export async function call(method, path, body, token = staff) {
  const response = await fetch(`${url}/api/v1${path}`, {
    method,
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    body: body && JSON.stringify(body),
  });
  const text = await response.text();
  return { status: response.status, body: text ? JSON.parse(text) : null };
}

export const post = (path, body, token) => call("POST", path, body, token);
