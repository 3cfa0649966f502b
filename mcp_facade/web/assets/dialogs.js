// Block and report, each asked for in a dialog.

import { el, setText } from "./dom.js";
import { CATEGORIES, minutesText, problemText } from "./words.js";

/** A dialog whose form does `act(form)`; it closes when that is done, and says why if it can't be. */
function dialog({ title, text, fields = [], action, act }) {
  const problem = el("p", { role: "alert", class: "problem" });
  const submit = el("button", { class: "danger" }, action);
  const done = async (event) => {
    event.preventDefault();
    submit.disabled = true;
    try {
      await act(form);
      element.close();
    } catch (error) {
      setText(problem, whyNot(error));
    }
    submit.disabled = false;
  };
  const cancel = el("button", { type: "button", onclick: () => element.close() }, "Cancel");
  const buttons = el("div", { class: "buttons" }, cancel, submit);
  const form = el("form", { onsubmit: done }, el("h2", { id: `${action}-title` }, title), el("p", {}, text));
  form.append(...fields, problem, buttons);
  const element = el("dialog", { "aria-labelledby": `${action}-title` }, form);
  const open = () => {
    form.reset();
    setText(problem, "");
    element.showModal();
  };
  return { element, open };
}

/** Return the dialog that blocks the stranger of `session`. */
export function blockDialog(session) {
  return dialog({
    title: "Block this stranger?",
    text: "You will never meet again, as long as both keep their place here. The chat ends; the stranger is told no more than that.",
    action: "Block",
    act: () => session.block(),
  });
}

/** Return the dialog that reports the stranger of `session`. */
export function reportDialog(session) {
  const choices = Object.entries(CATEGORIES).map(([value, label]) =>
    el("label", {}, el("input", { type: "radio", name: "category", value, required: true }), ` ${label}`),
  );
  const note = el("textarea", { id: "report-note", name: "note", rows: "3" });
  return dialog({
    title: "Report this stranger?",
    text: "The operator can read the conversation. You will not meet again, and the chat ends.",
    fields: [
      el("fieldset", {}, el("legend", {}, "What is wrong?"), ...choices),
      el("label", { for: "report-note" }, "Anything to add? (optional)"),
      note,
    ],
    action: "Report",
    act: (form) => session.report(new FormData(form).get("category"), note.value.trim()),
  });
}

function whyNot({ code, retry_after_ms }) {
  if (code === "rate_limited") return `Too many reports. Try again in ${minutesText(retry_after_ms / 1_000)}; blocking works now.`;
  if (code === "room_not_found") return "This chat is no longer known, so nothing can be done about it here.";
  if (code === "message_too_large") return "The note is too long: make it shorter.";
  return problemText(code);
}
