/** The window's way through a host that answers late, twice, out of order or not at all, and through one that is not its own. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";

let receive;
globalThis.addEventListener = (_, listener) => (receive = listener);
const { Bridge } = await import("../../mcp_facade/web/assets/by_bridge.js");

const LATE_MS = 45_000;
const settled = () => new Promise((done) => setImmediate(done));
const result = (payload) => ({ structuredContent: payload, content: [] });

/** A host that answers when the test says. */
function opened() {
  const sent = [];
  const host = { postMessage: (message) => sent.push(message) };
  const bridge = new Bridge(host, {});
  const answer = (id, more, source = host) => receive({ source, data: { jsonrpc: "2.0", id, ...more } });
  return { sent, bridge, answer };
}

describe("the bridge", () => {
  it("takes answers in any order, each once, and from its own host alone", async () => {
    const { bridge, answer } = opened();
    const calls = [bridge.call("get_status", {}), bridge.call("leave_queue", {})];
    answer(1, { result: result({ status: "forged" }) }, {});
    answer(2, { result: result({ success: true }) });
    answer(2, { error: { code: -32603, message: "again" } });
    answer(1, { result: result({ status: "idle" }) });
    answer(1, { result: result({ status: "waiting" }) });
    answer(9, { result: null });
    assert.deepEqual(await Promise.all(calls), [{ status: "idle" }, { success: true }]);
  });

  it("fails a call without an answer, or with one that says nothing", async () => {
    const { bridge, answer } = opened();
    for (const [id, more] of [{ result: null }, { result: [] }, { result: { content: [null] } }, { error: "x" }].entries()) {
      const call = bridge.call("get_status", {});
      answer(id + 1, more);
      await assert.rejects(call, Error);
    }
  });

  it("takes the one out of the queue whose handle came too late", async (test) => {
    test.mock.timers.enable({ apis: ["setTimeout"] });
    for (const [place, left] of [
      [{ status: "waiting" }, "leave_queue"],
      [{ status: "matched", room_id: "r_1" }, "leave_chat"],
    ]) {
      const { bridge, sent, answer } = opened();
      const call = bridge.call("chat_enter", {});
      test.mock.timers.tick(LATE_MS);
      await assert.rejects(call, /no answer/);
      answer(1, { result: result({ handle: "cb_late", ...place }) });
      await settled();
      assert.equal(sent.at(-1).params.name, left);
      assert.equal(sent.at(-1).params.arguments.handle, "cb_late");
      answer(sent.at(-1).id, { result: result({ success: true }) });
    }
  });
});
