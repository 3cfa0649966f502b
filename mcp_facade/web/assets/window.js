// The window inside a host (an MCP App): the chat's core over a bridge, in the looks of the host.

import { Bridge } from "./by_bridge.js";
import { el, setText } from "./dom.js";
import { HostLooks } from "./host_looks.js";
import { quotation } from "./quotation.js";
import { Session } from "./session.js";
import { clock, newId, openStore } from "./tab.js";
import { View } from "./view.js";
import { WindowStart } from "./window_start.js";

const APP = { name: "chat-broker-window", version: "1" };
const INLINE_LINES = 8;
const LEAVE_WITHIN_MS = 3_000;

async function main() {
  const store = await openStore({ isShared: true });
  const broker = JSON.parse(document.getElementById("broker").textContent);
  const root = document.getElementById("app");
  const bridge = new Bridge(parent, {
    "ui/notifications/tool-input": (params) => start.fill(params.arguments || {}),
    "ui/notifications/host-context-changed": (changed) => applyContext(bridge.changeContext(changed)),
    "ui/resource-teardown": () => leave(),
  });
  const looks = new HostLooks(bridge, root);
  const session = new Session(bridge, { clock, newId, store, onChange: () => show() });
  const expand = el("button", { type: "button", onclick: () => toggleRoom() }, "Show all");
  const ask = el("button", { type: "button", onclick: () => askAssistant() }, "Ask my assistant about this");
  const view = new View(session, { clock, tools: [expand, ask], layout: windowLayout, isModal: false, hasNames: true });
  const start = new WindowStart(broker, {
    onEnter: (profile) => {
      start.offerGoingOn(false);
      session.enter(profile);
    },
    onGoOn: () => session.resume(),
    onLink: (url) => bridge.openLink(url).catch(() => {}),
  });

  function show() {
    const { state } = session;
    start.show(state);
    view.element.hidden = state.place === "outside";
    view.show(state);
    const isChatting = state.place === "chatting";
    const begins = isChatting && view.composer.element.hidden;
    view.composer.element.hidden = !isChatting;
    if (begins && document.hasFocus()) view.composer.focus(); // the button that had the focus may mean another thing now
    view.composer.field.placeholder = isChatting ? `Say something to ${state.partner}` : "Say something";
    expand.hidden = !bridge.canBeFullscreen || !(looks.isFullscreen || hasHidden(state, view.transcript.list));
    setText(expand, looks.isFullscreen ? "Show less" : "Show all");
    ask.hidden = !bridge.canTellModel || !state.lines.some(({ who }) => who !== "note");
  }

  function applyContext(context) {
    const wasFullscreen = looks.isFullscreen;
    looks.apply(context);
    document.documentElement.toggleAttribute("data-expandable", bridge.canBeFullscreen);
    for (const link of start.links) link.hidden = !bridge.canOpenLinks;
    show();
    if (looks.isFullscreen !== wasFullscreen) view.transcript.toEnd();
  }

  async function toggleRoom() {
    try {
      const displayMode = await bridge.requestDisplayMode(looks.isFullscreen ? "inline" : "fullscreen");
      applyContext(bridge.changeContext({ displayMode }));
    } catch {
      setText(view.banner, "The program that shows this window has not changed its size.");
    }
  }

  async function askAssistant() {
    try {
      const isAtOnce = await bridge.tellModel(quotation(session.state));
      setText(view.banner, isAtOnce ? "Your assistant has been asked." : "Your assistant sees it with your next message.");
    } catch {
      setText(view.banner, "Your assistant could not be asked.");
    }
  }

  /** Leave, so that the stranger need not wait; a host may not wait for long, either. */
  async function leave() {
    await Promise.race([session.leave(), clock.wait(LEAVE_WITHIN_MS)]);
  }

  root.replaceChildren(start.element, view.element);
  addEventListener("focus", () => session.wake());
  show();
  applyContext(await bridge.connect(APP));
  const saved = store.load();
  start.offerGoingOn(Boolean(saved?.handle) && saved.state.place !== "outside");
  document.documentElement.dataset.ready = "";
}

/** Return whether there is more to read than the last lines, or than the beginning of a long one. */
function hasHidden({ lines }, list) {
  if (lines.length > INLINE_LINES) return true;
  return [...list.querySelectorAll(".text")].some((text) => text.scrollHeight > text.clientHeight + 1);
}

/** Return the elements of `view` as a transcript with a field below it; what is done seldom comes last. */
function windowLayout({ name, transcript, status, banner, composer, buttons, dialogs }, tools) {
  const { next, leave, another, over, block, report } = buttons;
  return el(
    "section",
    { class: "talk", "aria-label": "Chat" },
    el("h1", { class: "who" }, el("b", {}, name), " ", el("span", {}, "a stranger: a person or a program you don't know")),
    transcript.element,
    status,
    banner,
    composer.element,
    el("div", { class: "actions" }, next, leave, another, over, ...tools, el("span", { class: "seldom" }, block, report)),
    ...Object.values(dialogs).map(({ element }) => element),
  );
}

main();
