// Block and report, each asked for in a dialog.

import { Refusal } from "./answers.js";
import { el, setText } from "./dom.js";
import { CATEGORIES, minutesText, problemText } from "./words.js";

const NO_CATEGORY = "no_category";

/**
 * A dialog about the stranger of `session` that does `act(whom)`; it closes when that is done, and says why if it can't
 * be. `whom` is of when it was opened: the next stranger may come meanwhile. Where it is not modal, it is a part of the
 * page. It has no form, which a sandbox may forbid to submit. `onLost` is called when it is closed and what had the
 * focus before is not in sight any more.
 */
function dialog({ session, title, text, fields = [], action, act, isModal = true, onLost = () => {} }) {
  const problem = el("p", { role: "alert", class: "problem" });
  let whom = null;
  let opening = {}; // an answer that comes after the dialog was opened anew belongs to the one before
  const done = async () => {
    const asked = opening;
    submit.disabled = true;
    try {
      await act(whom);
      if (asked === opening) element.close();
    } catch (error) {
      if (asked === opening) setText(problem, whyNot(error));
    }
    if (asked !== opening) return;
    submit.disabled = false;
    if (element.open) submit.focus(); // a button that is disabled loses it
  };
  const submit = el("button", { type: "button", class: "danger", onclick: done }, action);
  const cancel = el("button", { type: "button", onclick: () => element.close() }, "Cancel");
  const heading = el("h2", { id: `${action}-title` }, title);
  const buttons = el("div", { class: "buttons" }, cancel, submit);
  const closed = () => {
    if (document.activeElement === document.body) onLost();
  };
  const naming = { "aria-labelledby": heading.id, onclose: closed };
  const element = el("dialog", naming, heading, el("p", {}, text), ...fields, problem, buttons);
  const open = () => {
    whom = session.whom;
    opening = {};
    submit.disabled = false;
    for (const field of element.querySelectorAll("input, textarea")) {
      if (field.type === "radio") field.checked = false;
      else field.value = "";
    }
    setText(problem, "");
    if (isModal) element.showModal();
    else element.show();
  };
  return { element, open };
}

/** Return the dialog that blocks the stranger of `session`. */
export function blockDialog(session, { isModal, onLost } = {}) {
  return dialog({
    session,
    isModal,
    onLost,
    title: "Block this stranger?",
    text: "You will never meet again, as long as both keep their place here. The chat ends; the stranger is told no more than that.",
    action: "Block",
    act: (whom) => session.block(whom),
  });
}

/** Return the dialog that reports the stranger of `session`. */
export function reportDialog(session, { isModal, onLost } = {}) {
  const choices = Object.entries(CATEGORIES).map(([value, label]) =>
    el("label", {}, el("input", { type: "radio", name: "category", value }), ` ${label}`),
  );
  const category = el("fieldset", {}, el("legend", {}, "What is wrong?"), ...choices);
  const note = el("textarea", { id: "report-note", name: "note", rows: "3" });
  return dialog({
    session,
    isModal,
    onLost,
    title: "Report this stranger?",
    text: "The operator can read the conversation. You will not meet again, and the chat ends.",
    fields: [
      category,
      el("label", { for: "report-note" }, "Anything to add? (optional)"),
      note,
    ],
    action: "Report",
    act: async (whom) => {
      const chosen = category.querySelector(":checked");
      if (chosen === null) throw new Refusal({ code: NO_CATEGORY });
      await session.report(whom, chosen.value, note.value.trim());
    },
  });
}

function whyNot({ code, retry_after_ms }) {
  if (code === NO_CATEGORY) return "Choose what is wrong.";
  if (code === "rate_limited") return `Too many reports. Try again in ${minutesText(retry_after_ms / 1_000)}; blocking works now.`;
  if (code === "room_not_found") return "This chat is no longer known, so nothing can be done about it here.";
  if (code === "message_too_large") return "The note is too long: make it shorter.";
  return problemText(code);
}
