// Every sentence that a face says of its own.

const NOTES = {
  found: ({ partner }) => `You are talking with ${partner}. Say hello.`,
  partner_left: ({ partner }) => `${partner} has left.`,
  partner_next: ({ partner }) => `${partner} has gone on to another stranger.`,
  partner_gone: ({ partner }) => `${partner} has vanished: the connection was lost.`,
  requeued: () => "The stranger never came. You are still waiting, in your old place.",
  you_left: () => "You have left.",
  you_timed_out: () => "You were away for too long, so the chat has ended.",
  missed_match: () => "A stranger was found while you were away, and has not waited.",
  unknown_handle: () => "The broker was restarted, and has forgotten this chat.",
  elsewhere: () => "This chat has ended.",
  missed: () => "Some of what was said is no longer kept.",
  blocked: ({ partner }) => `You have blocked ${partner}. You will not meet again.`,
  reported: ({ partner }) => `You have reported ${partner}, and will not meet again. Thank you.`,
};

const PROBLEMS = {
  unknown_handle: "The broker was restarted, and has forgotten this chat. Start again?",
  rate_limited: "That was too fast. Try again in {time}.",
  too_many_connections: "Too many people from your network are here already. Try again later.",
  queue_full: "Too many people are waiting. Try again in a minute.",
  host_refused: "The program that shows this window did not let it reach the broker. Allow it there, and try again.",
  forbidden: "This server refuses calls from here. Its operator can tell you why.",
  unavailable: "The broker can't answer right now. Try again in a moment.",
  message_too_large: "it is too long: send it in parts",
  message_empty: "there is nothing to be seen in it",
  chat_ended: "the chat had ended",
  room_not_found: "the chat had ended",
  unreachable: "the broker could not be reached",
};

const SILENT_S = 60;

/** The categories of a report, and what they are called. */
export const CATEGORIES = {
  spam: "Spam or advertising",
  harassment: "Harassment or hate",
  sexual: "Unwanted sexual content",
  minor: "A child may be in danger",
  threat: "A threat of violence",
  other: "Something else",
};

/** Return the sentence for a line of the kind `note`. */
export const noteText = (line) => (NOTES[line.code] || NOTES.elsewhere)({ partner: line.partner || "The stranger" });

/** Return the sentence for the code of a refusal, which may last for `retryAfterMs`. */
export const problemText = (code, retryAfterMs = 0) =>
  (PROBLEMS[code] || PROBLEMS.unavailable).replace("{time}", retryAfterMs < 60_000 ? "a moment" : minutesText(retryAfterMs / 1_000));

/** Return the sentence that says how it stands; empty if there is nothing to say. */
export function statusText(state) {
  if (!state.link && state.place !== "chatting") return "Reconnecting…";
  if (!state.link) return "Reconnecting… You can go on writing: it is sent once the broker is back.";
  if (state.problem) return problemText(state.problem, state.retryAfterMs);
  if (state.place === "entering") return "Looking for a stranger…";
  if (state.place === "waiting") return state.position === 1 ? "Looking for a stranger… You are the next." : "Looking for a stranger…";
  if (state.place !== "chatting" || state.silent < SILENT_S) return "";
  return `No sign of life from ${state.partner} for ${minutesText(state.silent)}.`;
}

/** Return a time of at least a minute in words. */
export const minutesText = (seconds) => {
  const minutes = Math.max(1, Math.floor(seconds / 60));
  return minutes === 1 ? "a minute" : `${minutes} minutes`;
};
