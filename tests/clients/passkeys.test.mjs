// Passkeys in a real browser, with an authenticator that the browser itself plays: the guard of the
// pair "Chromium's Web Authentication, our ceremony and pages".
//
//   FINNEST_URL=http://127.0.0.1:4000 node --test passkeys.test.mjs
//
// Needs a Chromium (CHROMIUM names another than /usr/bin/chromium) and a platform with demo data
// that has passkeys at http://localhost and the same port (--passkey-origin).

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";

const url = new URL(process.env.FINNEST_URL ?? "http://127.0.0.1:4000");
// Browsers have passkeys for names, not for numbers.
url.hostname = "localhost";
const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";

const PATIENCE_MS = 15_000;
const WHO = { organisation: "acme", email: "wen@acme.example", password: "demo-worker" };
const NAME = "A key of the browser's";

let browser;
let page;
let devtools;
let authenticatorId;

before(async () => {
  browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
  context.setDefaultTimeout(PATIENCE_MS);
  page = await context.newPage();
  devtools = await context.newCDPSession(page);
  await devtools.send("WebAuthn.enable");
  const options = {
    protocol: "ctap2",
    transport: "internal",
    hasResidentKey: true,
    hasUserVerification: true,
    isUserVerified: true,
    automaticPresenceSimulation: true,
  };
  ({ authenticatorId } = await devtools.send("WebAuthn.addVirtualAuthenticator", { options }));
});
after(() => browser?.close());

const at = (path) => new URL(path, url).href;
const button = (name) => page.getByRole("button", { name, exact: true });

async function signInWithPassword() {
  await page.goto(at("/sign-in?next=/account"));
  await page.getByLabel("Organisation").fill(WHO.organisation);
  await page.getByLabel("E-mail").fill(WHO.email);
  await page.getByLabel("Password").fill(WHO.password);
  await button("Sign in").first().click();
}

async function signOut() {
  await button("Sign out").click();
  await page.waitForURL(/sign-in/);
}

const isSignedIn = () => page.getByRole("heading", { name: "Your account" }).waitFor();

test("a passkey is made on the page of one's account", async () => {
  await signInWithPassword();
  await isSignedIn();
  await page.getByText("Add a passkey").click();
  await page.locator("#passkey-password").fill(WHO.password);
  await button("Begin").click();
  await page.getByLabel("What to call it").fill(NAME);
  await page.getByRole("status").getByRole("button").click();

  await page.getByRole("heading", { name: "You have a second factor" }).waitFor();
  await page.goto(at("/account"));
  await page.getByRole("cell", { name: NAME, exact: true }).waitFor();
  await signOut();
});

test("it signs in alone, without a password", async () => {
  await page.goto(at("/sign-in?next=/account"));
  await button("Sign in with a passkey").click();

  await isSignedIn();
  await signOut();
});

test("it stands for the code after a password", async () => {
  await signInWithPassword();
  await button("Use a passkey instead").click();

  await isSignedIn();
});

test("who does not show it is told so and stays outside", async () => {
  await signOut();
  await devtools.send("WebAuthn.setUserVerified", { authenticatorId, isUserVerified: false });
  await page.goto(at("/sign-in?next=/account"));
  await button("Sign in with a passkey").click();

  await page.getByRole("alert").filter({ hasText: "No passkey was shown." }).waitFor();
  assert.match(page.url(), /sign-in/);
  await devtools.send("WebAuthn.setUserVerified", { authenticatorId, isUserVerified: true });
});

test("it is removed by who has just shown it", async () => {
  await button("Sign in with a passkey").click();
  await isSignedIn();
  await button(`Remove ${NAME}`).click();

  await page.getByText("The passkey is removed.").waitFor();
  assert.equal(await page.getByRole("cell", { name: NAME, exact: true }).count(), 0);
});
