/** A whole conversation of two strangers, by the tools and their handles alone: what every client has to manage. */
import assert from "node:assert/strict";

const WAIT_SECONDS = 20;

/** Texts that a careless host or bridge takes for something else than text. */
export const TEXTS = ["hello, stranger", "42", "true", "null", '["a", "list"]', "one, two"];

/** Waits for what comes after `cursor`; resolves with the events as pairs of method and content, and the new cursor. */
async function hear(person, cursor) {
  const waited = await person.call("wait_for_events", { handle: person.handle, cursor, wait_seconds: WAIT_SECONDS });
  return { ...waited, events: briefly(waited.events) };
}

function briefly(events) {
  return events.map(({ method, params }) => [method, params.partner ?? params.message ?? params.reason]);
}

/**
 * Has `ann` and `bob` meet over a shared interest, say each of `texts` by turns, ask, answer and part.
 * Every event is heard once, by a wait from the cursor before it; a wait that begins early is woken.
 */
export async function converse(ann, bob, texts = TEXTS) {
  const waiting = await ann.enter({ display_name: "Ann", interests: ["music", "go"] });
  assert.equal(waiting.status, "waiting");
  const matched = await bob.enter({ display_name: "Bob", interests: ["go"] });
  assert.deepEqual([matched.status, matched.partner], ["matched", "Ann"], "they share an interest");
  const { room_id } = matched;
  const found = await hear(ann, waiting.cursor);
  assert.deepEqual(found.events, [["chatroom.found", "Bob"]]);

  const cursors = new Map([
    [ann, found.cursor],
    [bob, matched.cursor],
  ]);
  for (const [turn, message] of texts.entries()) {
    const [speaker, listener] = turn % 2 ? [ann, bob] : [bob, ann];
    await speaker.call("send_message", { handle: speaker.handle, room_id, message });
    const heard = await hear(listener, cursors.get(listener));
    assert.deepEqual(heard.events, [["message.received", message]]);
    assert.deepEqual([heard.status, heard.timed_out], ["chatting", false]);
    cursors.set(listener, heard.cursor);
  }

  const question = { handle: bob.handle, room_id, message: "question", message_id: "question-1" };
  const asked = bob.call("send_message", { ...question, cursor: cursors.get(bob), wait_seconds: WAIT_SECONDS });
  const heard = await hear(ann, cursors.get(ann));
  assert.deepEqual(heard.events, [["message.received", "question"]]);
  await ann.call("send_message", { handle: ann.handle, room_id, message: "answer" });
  const answered = await asked;
  assert.deepEqual(briefly(answered.events), [["message.received", "answer"]]);

  await ann.call("leave_chat", { handle: ann.handle, room_id });
  const parted = await hear(bob, answered.cursor);
  assert.deepEqual(parted.events, [["partner.disconnected", "left"]]);
  assert.equal(parted.status, "idle");
  assert.equal((await ann.call("get_status", { handle: ann.handle })).status, "idle");
}
