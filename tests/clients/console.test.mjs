// The console in a real browser: the guard of the pair "npm phoenix_live_view client, our server".
//
//   FINNEST_URL=http://127.0.0.1:4000 FINNEST_TOKEN=demo-operator node --test console.test.mjs
//
// Needs a Chromium (CHROMIUM names another than /usr/bin/chromium) and a running platform whose
// operator holds the token. FINNEST_PROCESS chooses whom to kill; by default a scoring engine.

import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { chromium } from "playwright-core";

const url = process.env.FINNEST_URL ?? "http://127.0.0.1:4000";
const token = process.env.FINNEST_TOKEN ?? "demo-operator";
const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";

// Longer than anything here may take, short enough to fail while somebody watches.
const PATIENCE_MS = 15_000;
// What the console promises: a change shows within a second, without reload.
const SHOWN_WITHIN_MS = 1_000;

let browser;
let context;
let page;
let problems;

before(async () => {
  browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
});
after(() => browser?.close());

beforeEach(() => {
  problems = [];
});
afterEach(async () => {
  await context?.close();
  assert.deepEqual(problems, [], "the page reported errors");
});

async function open(path = "/", options = {}) {
  context = await browser.newContext({ viewport: { width: 1440, height: 900 }, ...options });
  context.setDefaultTimeout(PATIENCE_MS);
  page = await context.newPage();
  page.on("pageerror", (error) => problems.push(error.message));
  page.on("console", (message) => {
    if (message.type() === "error") problems.push(message.text());
  });
  const next = encodeURIComponent(path);
  await page.goto(`${url}/sign-in?token=${encodeURIComponent(token)}&next=${next}`);
  if (options.javaScriptEnabled !== false) await page.waitForSelector(".phx-connected");
}

// The leaf that is killed: a worker whose place in the tree names the scoring engine.
async function victim() {
  if (process.env.FINNEST_PROCESS) return process.env.FINNEST_PROCESS;
  const workers = page.locator('[role=treeitem]:not([aria-expanded])[data-path*="scoring_engine"]');
  const path = await workers.first().getAttribute("data-path");
  assert.ok(path, "no scoring engine is in the tree");
  return path;
}

const node = (path) => page.locator(`[role=treeitem][data-path="${path}"]`);
const restarts = async (path) => Number(await node(path).locator(".restarts").textContent());

// A supervisor gives up when its children die too often; that is another test's subject.
async function calm(path) {
  const supervisor = path.slice(0, path.lastIndexOf("/"));
  const gauge = node(supervisor).locator(".gauge:not(.is-used):not(.is-full)");
  const deadline = Date.now() + PATIENCE_MS;
  while ((await gauge.count()) === 0 && Date.now() < deadline) await page.reload();
  const hasScript = await page.locator(".has-script").count();
  if (hasScript) await page.waitForSelector(".phx-connected");
}

async function untilRestarts(path, expected) {
  await page.waitForFunction(
    ([path, expected]) => {
      const count = document.querySelector(`[data-path="${path}"] .restarts`);
      return Number(count?.textContent) >= expected;
    },
    [path, expected],
    { polling: "raf" },
  );
}

test("a click kills a process and its restart shows within a second, without reload", async () => {
  await open();
  const path = await victim();
  await calm(path);
  const before = await restarts(path);
  const reason = `browser test ${Date.now()}`;
  await page.evaluate((path) => {
    window.isTheSamePage = true;
    window.nodes = new Map();
    for (const item of document.querySelectorAll("[role=treeitem]")) {
      window.nodes.set(item.dataset.path, item);
    }
    window.killed = path;
  }, path);

  await node(path).click();
  await page.getByLabel("Reason").fill(reason);
  const began = Date.now();
  await page.getByRole("button", { name: "Kill" }).click();
  await untilRestarts(path, before + 1);
  const took = Date.now() - began;

  assert.ok(took < SHOWN_WITHIN_MS, `the restart showed after ${took} ms`);
  await page.locator(".timeline q", { hasText: reason }).waitFor();
  const kept = await page.evaluate(() => {
    const now = document.querySelector(`[data-path="${window.killed}"]`);
    const svg = "http://www.w3.org/2000/svg";
    const all = Array.from(document.querySelectorAll(".nodes *"));
    return {
      page: window.isTheSamePage === true,
      node: window.nodes.get(window.killed) === now,
      namespace: all.every((element) => element.namespaceURI === svg),
    };
  });
  assert.deepEqual(kept, { page: true, node: true, namespace: true });
});

test("a selected process shows its state, and a supervisor none beside its drawing", async () => {
  await open();
  const guard = "root/domains/onboard/children/budget_guard";
  await node(guard).click();
  await page.locator("#detail .payload", { hasText: "breakers" }).waitFor();

  await node("root/domains/onboard/children").click();
  await page.locator("#detail-title", { hasText: "children" }).waitFor();

  assert.equal(await page.locator("#detail .payload").count(), 0);
});

test("the kill is in the event log, with its reason", async () => {
  await open();
  const path = await victim();
  await calm(path);
  const before = await restarts(path);
  const reason = `recorded ${Date.now()}`;

  await node(path).click();
  await page.getByLabel("Reason").fill(reason);
  await page.getByRole("button", { name: "Kill" }).click();
  await untilRestarts(path, before + 1);
  await page.getByRole("link", { name: "Events" }).click();

  await page.locator("td", { hasText: reason }).first().waitFor();
});

test("everything is reached by keyboard", async () => {
  await open();
  const path = await victim();
  await calm(path);
  const before = await restarts(path);

  await page.keyboard.press("?");
  await page.locator("dialog[open]").waitFor();
  await page.keyboard.press("Escape");
  await page.locator("dialog[open]").waitFor({ state: "detached" });
  await page.keyboard.press("ArrowDown");
  const focused = () => page.evaluate(() => document.activeElement.dataset?.path);
  assert.equal(await focused(), "root");
  // Down, one process after the other, as somebody would who has no mouse.
  for (let step = 0; step < 500 && (await focused()) !== path; step += 1) {
    await page.keyboard.press("ArrowDown");
  }
  assert.equal(await focused(), path);
  await page.keyboard.press("Enter");
  await page.locator("#detail").waitFor();
  await page.keyboard.press("k");
  await page.keyboard.type("by keyboard");
  await page.keyboard.press("Enter");
  await untilRestarts(path, before + 1);
  await page.keyboard.press("Escape");

  await page.locator("#detail").waitFor({ state: "detached" });
  assert.equal(await focused(), path, "the focus is lost");
});

test("left folds a supervisor and right opens it again", async () => {
  await open();
  const store = node("root/store");
  await store.focus();

  await page.keyboard.press("ArrowLeft");
  await page.locator('[data-path="root/store"][aria-expanded=false]').waitFor();
  assert.equal(await node("root/store/sealer").count(), 0);
  await page.keyboard.press("ArrowRight");

  await node("root/store/sealer").waitFor();
});

test("without JavaScript the tree is there and a form kills", async () => {
  await open("/", { javaScriptEnabled: false });
  const path = await victim();
  await calm(path);
  const before = await restarts(path);

  await node(path).click();
  await page.getByLabel("Reason").fill("no script");
  await page.getByRole("button", { name: "Kill" }).click();
  await page.locator(".notice.is-done").waitFor();
  // Without a script a page shows what is new when it is loaded again.
  const deadline = Date.now() + PATIENCE_MS;
  while ((await restarts(path)) === before && Date.now() < deadline) await page.reload();

  assert.ok((await restarts(path)) > before);
});

test("on a phone nothing is wider than the screen", async () => {
  await open("/", { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true });
  const path = await victim();

  await page.locator(".forest.is-list").waitFor();
  await node(path).tap();
  await page.getByRole("button", { name: "Kill" }).waitFor();

  const width = await page.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(width <= 390, `the page is ${width} wide`);
});

test("a lost connection is shown and heals by itself", async () => {
  let isBlocked = false;
  let connection;
  await open();
  await page.routeWebSocket(/\/live\/websocket/, (socket) => {
    if (isBlocked) return socket.close({ code: 1011 });
    connection = socket;
    return socket.connectToServer();
  });
  await page.reload();
  await page.waitForSelector(".phx-connected");

  isBlocked = true;
  await connection.close({ code: 1011 });
  await page.locator(".banner.is-client").waitFor({ state: "visible" });
  isBlocked = false;

  await page.locator(".banner.is-client").waitFor({ state: "hidden" });
  await page.waitForSelector(".phx-connected");
  // The client itself reports the lost connection; that is what this test is about.
  problems = problems.filter((problem) => !/websocket|1011/i.test(problem));
});

test("it is dark by default, and light when asked", async () => {
  await open();
  const theme = () => page.evaluate(() => getComputedStyle(document.documentElement).colorScheme);

  assert.equal(await theme(), "dark");
  await page.getByRole("button", { name: /^Theme/ }).click();
  await page.waitForSelector(".phx-connected");

  assert.equal(await theme(), "light");
});

test("every page stays alive without errors", async () => {
  await open("/events");
  await page.goto(`${url}/queues`);
  await page.waitForSelector(".phx-connected");
  await page.goto(`${url}/`);
  await page.waitForSelector(".phx-connected");
});
