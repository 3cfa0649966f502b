/** Hosts that turn every argument into a string, played by a bridge between official clients and the broker. */
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";

import { Bridge, HABITS } from "./support/bridge.mjs";
import { Broker } from "./support/broker.mjs";
import { TEXTS, converse } from "./support/conversation.mjs";
import { named } from "./support/heard.mjs";
import { gathering } from "./support/people.mjs";
import { EVENTS_EXTENSION, callTool } from "./support/wire.mjs";

const messages = (heard) => heard.map(({ params }) => params.message);

describe("a host that sends every argument as a string", () => {
  let broker;

  before(async () => {
    broker = await Broker.start("--matching", "interests", "--interest-patience-ms", "600000");
    // She has waited longest: a client whose interests are lost meets her.
    const cat = await callTool(broker, "enter_queue", { display_name: "Cat", interests: ["chess"] });
    broker.keepSecret(cat.structuredContent.handle);
  });
  after(() => broker?.kill());

  for (const [habit, writing] of Object.entries(HABITS)) {
    describe(habit, () => {
      let bridge;

      before(async () => (bridge = await Bridge.start(broker, writing)));
      after(() => bridge?.close());

      for (const [client, join, options] of [
        ["the 1.x client, in sessions", "session", { generation: "1.x" }],
        ["the 2.x client, in sessions", "session", { generation: "2.x" }],
        ["the 2.x client, at 2026-07-28", "modern", {}],
      ]) {
        it(`lets two strangers meet, talk both ways and part through ${client}`, async (t) => {
          const there = gathering(t, bridge, options);
          const [ann, bob] = [await there[join](), await there[join]()];
          await converse(ann, bob);
        });
      }

      it("lets a session and a listen stream hear every message as it was typed", async (t) => {
        const there = gathering(t, bridge);
        const [ann, bob] = [await there.session(), await there.modern()];
        await ann.enter({ interests: ["go"] });
        const { room_id } = await bob.enter({ interests: ["music", "go"] });
        await bob.client.listen({ [EVENTS_EXTENSION]: { handles: [bob.handle] } });
        // A session's handle may be left out, and an argument that is nothing counts as left out.
        for (const message of TEXTS) await ann.call("send_message", { room_id, message });
        for (const message of TEXTS) await bob.call("send_message", { handle: bob.handle, room_id, message });
        assert.deepEqual(messages(await bob.heard.several(TEXTS.length, named("message.received"))), TEXTS);
        assert.deepEqual(messages(await ann.heard.several(TEXTS.length, named("message.received"))), TEXTS);
        assert.equal((await ann.call("next_partner", { room_id })).status, "waiting");
        await bob.heard.notification("partner.disconnected", { room_id, reason: "next" });
        assert.deepEqual(await ann.call("leave_queue"), { success: true });
      });

      it("never sends an argument that is not a string, but for those that are left out", () => {
        const sent = bridge.sent.flatMap((args) => Object.values(args));
        assert.ok(sent.length > 0);
        assert.deepEqual(
          sent.filter((value) => typeof value !== "string" && value !== null),
          [],
        );
      });
    });
  }

  it("leaves a broker that ends in time with exit code 0, and has printed no secret", () => broker.stop());
});
