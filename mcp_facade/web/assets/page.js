// The page at `/`: puts the faces together, and tells the session what goes on around it.

import { Alerts } from "./alerts.js";
import { ByFetch } from "./by_fetch.js";
import { isOfInputMethod } from "./dom.js";
import { Session } from "./session.js";
import { Start } from "./start.js";
import { clock, newId, openStore } from "./tab.js";
import { View } from "./view.js";

async function main() {
  const transport = new ByFetch();
  const store = await openStore();
  const session = new Session(transport, { clock, newId, store, onChange: (state, before) => show(state, before) });
  const alerts = new Alerts();
  const seen = () => {
    if (!document.hidden && view.transcript.isAtEnd) session.seen();
  };
  const view = new View(session, { clock, tools: [alerts.button], onSeen: seen });
  const enter = (profile) => {
    session.enter(profile);
    view.composer.focus();
  };
  const start = new Start(transport, { clock, onEnter: enter });

  function show(state, before) {
    const wasTalking = !view.element.hidden;
    start.show(state);
    view.element.hidden = state.place === "outside";
    view.show(state);
    alerts.show(state, before);
    if (wasTalking && view.element.hidden) start.name.focus();
    if (state.unread) seen();
  }

  view.element.hidden = true;
  document.getElementById("app").replaceChildren(start.element, view.element);
  show(session.state, session.state);
  addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || event.repeat || isOfInputMethod(event) || event.defaultPrevented) return;
    if (!document.querySelector("dialog[open]")) view.escape();
  });
  addEventListener("online", () => session.wake());
  addEventListener("offline", () => session.wake());
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return;
    seen();
    session.wake();
  });
  session.resume();
  keepAboveKeyboard();
  document.documentElement.dataset.ready = "";
  if (session.state.place !== "outside") view.composer.focus();
}

/** Keep the page as high as what is in sight: a phone's keyboard lies over the rest. */
function keepAboveKeyboard() {
  const viewport = window.visualViewport;
  if (!viewport) return;
  const fit = () => {
    if (viewport.scale > 1.01) return; // the reader has zoomed in
    document.documentElement.style.setProperty("--height", `${viewport.height}px`);
    document.documentElement.style.setProperty("--top", `${viewport.offsetTop}px`);
  };
  viewport.addEventListener("resize", fit);
  viewport.addEventListener("scroll", fit);
}

main();
