// Block and report, each asked for in a dialog.

import { Refusal } from "./answers.js";
import { el, setText } from "./dom.js";
import { CATEGORIES, minutesText, problemText } from "./words.js";

const NO_CATEGORY = "no_category";

/**
 * A dialog that does `act()`; it closes when that is done, and says why if it can't be. Where it is not modal, it is a
 * part of the page. It has no form, which a sandbox may forbid to submit.
 */
function dialog({ title, text, fields = [], action, act, isModal = true }) {
  const problem = el("p", { role: "alert", class: "problem" });
  const done = async () => {
    submit.disabled = true;
    try {
      await act();
      element.close();
    } catch (error) {
      setText(problem, whyNot(error));
    }
    submit.disabled = false;
  };
  const submit = el("button", { type: "button", class: "danger", onclick: done }, action);
  const cancel = el("button", { type: "button", onclick: () => element.close() }, "Cancel");
  const heading = el("h2", { id: `${action}-title` }, title);
  const buttons = el("div", { class: "buttons" }, cancel, submit);
  const element = el("dialog", { "aria-labelledby": heading.id }, heading, el("p", {}, text), ...fields, problem, buttons);
  const open = () => {
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
export function blockDialog(session, { isModal } = {}) {
  return dialog({
    isModal,
    title: "Block this stranger?",
    text: "You will never meet again, as long as both keep their place here. The chat ends; the stranger is told no more than that.",
    action: "Block",
    act: () => session.block(),
  });
}

/** Return the dialog that reports the stranger of `session`. */
export function reportDialog(session, { isModal } = {}) {
  const choices = Object.entries(CATEGORIES).map(([value, label]) =>
    el("label", {}, el("input", { type: "radio", name: "category", value }), ` ${label}`),
  );
  const category = el("fieldset", {}, el("legend", {}, "What is wrong?"), ...choices);
  const note = el("textarea", { id: "report-note", name: "note", rows: "3" });
  return dialog({
    isModal,
    title: "Report this stranger?",
    text: "The operator can read the conversation. You will not meet again, and the chat ends.",
    fields: [
      category,
      el("label", { for: "report-note" }, "Anything to add? (optional)"),
      note,
    ],
    action: "Report",
    act: async () => {
      const chosen = category.querySelector(":checked");
      if (chosen === null) throw new Refusal({ code: NO_CATEGORY });
      await session.report(chosen.value, note.value.trim());
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
