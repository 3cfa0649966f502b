// Several tabs share the six connections that a browser has to one HTTP/1.1 server.
//
// At most three tabs hold a stream. Of the others, those in sight ask every two seconds; the hidden ones, whose timers a
// browser slows down, take turns on one waiting call, so that none is silent for long. Without Web Locks (on plain http,
// but for this machine) or with HTTP/2, each tab has its stream.

const SLOTS = ["chat-broker-stream-1", "chat-broker-stream-2", "chat-broker-stream-3"];
const TURN = "chat-broker-turn";
let foundNone = false;

/** Return whether the last try for a slot found none. */
export const isCrowded = () => foundNone;

/** Return the result of `work`, done while holding a slot; `false` if none is free. */
export async function withSlot(work) {
  if (!navigator.locks || isMultiplexed()) return work();
  for (const slot of SLOTS) {
    const answer = await navigator.locks.request(slot, { ifAvailable: true }, async (lock) => {
      foundNone = lock === null;
      return lock && { result: await work() };
    });
    if (answer) return answer.result;
  }
  return false;
}

/** Return the result of `work` when it is this tab's turn; of `atOnce` if the tab comes into sight before. */
export async function inTurn(work, atOnce) {
  if (!foundNone) return work();
  const shown = new AbortController();
  const show = () => shown.abort();
  document.addEventListener("visibilitychange", show, { once: true });
  try {
    return await navigator.locks.request(TURN, { signal: shown.signal }, work);
  } catch (error) {
    if (error !== shown.signal.reason) throw error;
    return atOnce();
  } finally {
    document.removeEventListener("visibilitychange", show);
  }
}

function isMultiplexed() {
  const [{ nextHopProtocol = "" } = {}] = performance.getEntriesByType("navigation");
  return nextHopProtocol === "h2" || nextHopProtocol === "h3";
}
