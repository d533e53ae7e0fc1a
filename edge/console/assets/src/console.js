// The script of the console: connects the page and adds what a server cannot do, which is to
// move the focus with the keyboard and to count seconds. All state lives on the server.
import { Socket } from "phoenix";
import { LiveSocket } from "phoenix_live_view";

const NARROW = window.matchMedia("(max-width: 759px)");

// "3m 12s" while young, coarse when old; the server writes "3m" where no script runs.
function span(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const minutes = Math.floor(seconds / 60);
  const hours = Math.floor(minutes / 60);
  const days = Math.floor(hours / 24);
  if (minutes < 1) return `${seconds}s`;
  if (hours < 1) return `${minutes}m ${seconds % 60}s`;
  if (days < 1) return `${hours}h ${minutes % 60}m`;
  return `${days}d ${hours % 24}h`;
}

// The clocks of server and viewer may differ; the page says what time it is on the server.
let clockSkew = 0;

function since(element) {
  const at = Number(element.dataset.since);
  return at ? span(Date.now() + clockSkew - at) : "";
}

function countSeconds() {
  for (const element of document.querySelectorAll("[data-since]")) {
    const text = since(element);
    if (element.textContent !== text) element.textContent = text;
  }
}

const items = (root) => Array.from(root.querySelectorAll("[role=treeitem]"));
const level = (item) => Number(item.getAttribute("aria-level"));
const parentOf = (all, item) => {
  const before = all.slice(0, all.indexOf(item)).reverse();
  return before.find((other) => level(other) < level(item));
};

const Tree = {
  mounted() {
    this.onKey = (event) => this.key(event);
    this.onWidth = () => this.pushEvent("viewport", { width: window.innerWidth });
    document.addEventListener("keydown", this.onKey);
    NARROW.addEventListener("change", this.onWidth);
  },

  destroyed() {
    document.removeEventListener("keydown", this.onKey);
    NARROW.removeEventListener("change", this.onWidth);
  },

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (document.querySelector("dialog[open]")) return;
    const typing = event.target.closest("input, textarea, select");
    if (event.key === "Escape") return this.close(event);
    if (typing) return;
    if (event.key === "k") return this.reason(event);

    const item = event.target.closest("[role=treeitem]");
    const all = items(this.el);
    const go = (to) => {
      if (!to) return;
      event.preventDefault();
      to.focus();
      to.scrollIntoView({ block: "nearest", inline: "nearest" });
    };
    if (!item) {
      const outside = event.target === document.body || event.target === this.el;
      if (outside && event.key.startsWith("Arrow")) {
        go(this.el.querySelector("[role=treeitem][aria-selected=true]") || all[0]);
      }
      return;
    }
    const index = all.indexOf(item);
    const expanded = item.getAttribute("aria-expanded");
    const fold = () => {
      event.preventDefault();
      this.pushEvent("fold", { path: item.dataset.path });
    };
    const hasChild = all[index + 1] && level(all[index + 1]) > level(item);
    switch (event.key) {
      case "ArrowDown": return go(all[index + 1]);
      case "ArrowUp": return go(all[index - 1]);
      case "Home": return go(all[0]);
      case "End": return go(all[all.length - 1]);
      case "ArrowRight": return expanded === "false" ? fold() : go(hasChild && all[index + 1]);
      case "ArrowLeft":
        return expanded === "true" && hasChild && level(item) > 1 ? fold() : go(parentOf(all, item));
      case " ":
        event.preventDefault();
        return item.dispatchEvent(new MouseEvent("click", { bubbles: true, cancelable: true }));
    }
  },

  close(event) {
    const close = this.el.querySelector("#detail-close");
    if (!close) return;
    event.preventDefault();
    const selected = this.el.querySelector("[role=treeitem][aria-selected=true]");
    close.click();
    selected?.focus();
  },

  reason(event) {
    const input = this.el.querySelector("[data-reason]");
    if (!input) return;
    event.preventDefault();
    input.focus();
  },
};

function bindKeys() {
  const dialog = document.getElementById("keys");
  if (!dialog) return;
  document.addEventListener("keydown", (event) => {
    if (event.key !== "?" || event.target.closest("input, textarea")) return;
    event.preventDefault();
    dialog.open ? dialog.close() : dialog.showModal();
  });
  document.querySelector("[data-keys]")?.addEventListener("click", () => dialog.showModal());
}

// A menu that was opened is closed by whatever happens elsewhere.
function bindMenu() {
  const menu = document.querySelector(".more");
  if (!menu) return;
  document.addEventListener("click", (event) => {
    if (!menu.contains(event.target)) menu.open = false;
  });
  menu.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !menu.open) return;
    event.stopPropagation();
    menu.open = false;
    menu.querySelector("summary").focus();
  });
}

const token = document.querySelector("meta[name=csrf-token]")?.content;
const server = Number(document.querySelector("meta[name=server-time]")?.content);
if (server) clockSkew = server - Date.now();

const liveSocket = new LiveSocket("/live", Socket, {
  params: () => ({ _csrf_token: token, width: window.innerWidth }),
  hooks: { Tree },
  dom: {
    onBeforeElUpdated(from, to) {
      if (to.dataset?.since) to.textContent = since(to);
    },
  },
});
liveSocket.connect();
window.liveSocket = liveSocket;

document.documentElement.classList.add("has-script");
bindKeys();
bindMenu();
countSeconds();
setInterval(countSeconds, 1000);
