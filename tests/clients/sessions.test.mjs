/** Sessions of 2025-11-25, through both generations of the official client. */
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";

import { Broker } from "./support/broker.mjs";
import { named } from "./support/heard.mjs";
import { GENERATIONS, connectSession, gathering, inOneSession, pair } from "./support/people.mjs";
import { CONNECTION, TOOLS } from "./support/wire.mjs";

const TIMESTAMP = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}(Z|\+00:00)$/;
const WAIT_SECONDS = 20;

const inbox = (person) => `chat://inbox/${person.handle}`;
const messages = (events) => events.map(({ params }) => params.message).filter((text) => text !== undefined);

for (const generation of Object.keys(GENERATIONS)) {
  describe(`a 2025-11-25 session of the ${generation} client`, () => {
    let broker;
    before(async () => (broker = await Broker.start()));
    after(() => broker?.kill());

    it("is negotiated with the official client, and offers all tools with the schemas of what they give", async (t) => {
      const ann = await gathering(t, broker, { generation }).session();
      assert.equal(ann.transport.protocolVersion, "2025-11-25");
      assert.ok(ann.client.getInstructions()?.includes("untrusted"), "a stranger's words are untrusted");
      const { tools } = await ann.client.listTools();
      assert.deepEqual(tools.map(({ name }) => name).sort(), TOOLS);
      for (const tool of tools) {
        assert.ok(tool.description, tool.name);
        assert.equal(tool.inputSchema.type, "object", tool.name);
        assert.equal(tool.outputSchema?.type, "object", tool.name);
      }
    });

    it("hears chatroom.found on its stream when a stranger comes, whether it waited or came last", async (t) => {
      const there = gathering(t, broker, { generation });
      const [ann, bob] = [await there.session(), await there.session()];
      const { room_id, waiting, matched } = await pair(ann, bob);
      assert.equal(waiting.position, 1);
      assert.equal(matched.partner, "Ann");
      for (const [person, partner] of [
        [ann, "Bob"],
        [bob, "Ann"],
      ]) {
        const { params } = await person.heard.notification("chatroom.found", { room_id });
        const { timestamp, cursor, ...rest } = params;
        assert.match(timestamp, TIMESTAMP);
        assert.equal(cursor, matched.cursor);
        assert.deepEqual(rest, { room_id, partner, _meta: { [CONNECTION]: person.connectionId } });
      }
    });

    it("hears every message of the stranger, in order, and none of its own", async (t) => {
      const there = gathering(t, broker, { generation });
      const [ann, bob] = [await there.session(), await there.session()];
      const { room_id } = await pair(ann, bob);
      const texts = ["first", "second", "naïve — 日本語 👩‍👩‍👧", '{"jsonrpc": "2.0"}\n\ndata: not a frame', "last"];
      for (const message of texts) {
        const sent = await ann.call("send_message", { room_id, message });
        assert.equal(sent.success, true);
        assert.match(sent.timestamp, TIMESTAMP);
      }
      const heard = await bob.heard.several(texts.length, named("message.received"));
      assert.deepEqual(
        heard.map(({ params }) => params.message),
        texts,
      );
      for (const { params } of heard) {
        assert.equal(params.room_id, room_id);
        assert.equal(params.sender, "stranger");
        assert.equal(params._meta[CONNECTION], bob.connectionId);
      }
      await bob.call("send_message", { room_id, message: "all heard" });
      await ann.heard.notification("message.received", { message: "all heard" });
      assert.equal(ann.heard.all(named("message.received")).length, 1);
    });

    it("hears partner.disconnected when the stranger leaves, after which the chat has ended", async (t) => {
      const there = gathering(t, broker, { generation });
      const [ann, bob] = [await there.session(), await there.session()];
      const { room_id } = await pair(ann, bob);
      assert.deepEqual(await bob.call("leave_chat", { room_id }), { success: true });
      const { params } = await ann.heard.notification("partner.disconnected");
      assert.equal(params.room_id, room_id);
      assert.equal(params.reason, "left");
      assert.match(params.timestamp, TIMESTAMP);
      const refused = await ann.refusal("send_message", { room_id, message: "still there?" });
      assert.deepEqual(refused, { error: "Chat has ended", code: "chat_ended" });
      assert.deepEqual(await bob.call("leave_chat", { room_id }), { success: true }, "leaving twice is safe");
      assert.deepEqual(bob.heard.all(named("partner.disconnected")), [], "whoever leaves is not told so");
    });

    it("blocks and reports a stranger, who is told only that the chat has ended", async (t) => {
      const there = gathering(t, broker, { generation });
      const [ann, bob] = [await there.session(), await there.session()];
      const { room_id } = await pair(ann, bob);
      assert.deepEqual(await bob.call("block_partner", { room_id }), { success: true });
      const { params } = await ann.heard.notification("partner.disconnected", { room_id });
      assert.equal(params.reason, "left");
      const report = { room_id, category: "other", note: "afterwards" };
      assert.deepEqual(await bob.call("report_partner", report), { success: true });
      const refused = await bob.refusal("report_partner", { ...report, room_id: "unknown" });
      assert.equal(refused.code, "room_not_found");
    });

    it("gives a stranger to the next in the queue on next_partner, and tells the one who was left", async (t) => {
      const there = gathering(t, broker, { generation });
      const [ann, bob, cat] = [await there.session(), await there.session(), await there.session()];
      const { room_id } = await pair(ann, bob);
      await cat.enter({ display_name: "Cat" });
      const next = await ann.call("next_partner", { room_id });
      assert.equal(next.status, "matched");
      assert.equal(next.partner, "Cat");
      assert.notEqual(next.room_id, room_id);
      const { params } = await bob.heard.notification("partner.disconnected", { room_id });
      assert.equal(params.reason, "next");
      await cat.heard.notification("chatroom.found", { room_id: next.room_id, partner: "Ann" });
    });

    it("needs no handle in its calls once it has entered the queue", async (t) => {
      const ann = await gathering(t, broker, { generation }).session();
      await ann.enter();
      const status = await ann.call("get_status");
      assert.equal(status.status, "waiting");
      assert.equal(status.connection_id, ann.connectionId);
      assert.deepEqual(await ann.call("leave_queue"), { success: true });
      assert.equal((await ann.call("get_status")).status, "idle");
    });

    it("is told by wait_for_events what came after its cursor, and then what comes while it waits", async (t) => {
      const there = gathering(t, broker, { generation });
      const [ann, bob] = [await there.session(), await there.session()];
      const { room_id, waiting } = await pair(ann, bob);
      const found = await ann.call("wait_for_events", { cursor: waiting.cursor, wait_seconds: WAIT_SECONDS });
      assert.deepEqual(
        found.events.map(({ method, params }) => [method, params.room_id, params.partner]),
        [["chatroom.found", room_id, "Bob"]],
      );
      assert.equal(found.timed_out, false);
      assert.equal(found.status, "chatting");
      const waited = ann.call("wait_for_events", { cursor: found.cursor, wait_seconds: WAIT_SECONDS });
      await bob.call("send_message", { room_id, message: "awake?" });
      const woken = await waited;
      assert.deepEqual(messages(woken.events), ["awake?"]);
      assert.ok(woken.cursor > found.cursor);
      const nothing = await ann.call("wait_for_events", { cursor: woken.cursor, wait_seconds: 0 });
      assert.deepEqual([nothing.events, nothing.cursor, nothing.timed_out], [[], woken.cursor, true]);
    });

    it("sends and waits for the reply in one call", async (t) => {
      const there = gathering(t, broker, { generation });
      const [ann, bob] = [await there.session(), await there.session()];
      const { room_id, matched } = await pair(ann, bob);
      const asked = bob.call("send_message", {
        room_id,
        message: "question",
        cursor: matched.cursor,
        wait_seconds: WAIT_SECONDS,
      });
      await ann.heard.notification("message.received", { message: "question" });
      await ann.call("send_message", { room_id, message: "answer" });
      const { events, success } = await asked;
      assert.equal(success, true);
      assert.deepEqual(messages(events), ["answer"]);
    });

    it("delivers a message that is sent again under one message_id once", async (t) => {
      const there = gathering(t, broker, { generation });
      const [ann, bob] = [await there.session(), await there.session()];
      const { room_id, waiting } = await pair(ann, bob);
      const once = { room_id, message: "once", message_id: "m-1" };
      const first = await bob.call("send_message", once);
      assert.deepEqual(await bob.call("send_message", once), first, "the first answer is given again");
      await bob.call("send_message", { room_id, message: "twice", message_id: "m-2" });
      await ann.heard.notification("message.received", { message: "twice" });
      assert.deepEqual(messages(ann.heard.all(named("message.received"))), ["once", "twice"]);
      const { events } = await ann.call("wait_for_events", { cursor: waiting.cursor, wait_seconds: 0 });
      assert.deepEqual(messages(events), ["once", "twice"]);
    });

    it("is refused with a code and a text that repeats nothing of what was typed", async (t) => {
      const there = gathering(t, broker, { generation });
      const [ann, bob, eve] = [await there.session(), await there.session(), await there.session()];
      const { room_id } = await pair(ann, bob);
      await eve.enter();
      const outsider = await eve.refusal("send_message", { room_id, message: "let me in" });
      const nowhere = await eve.refusal("send_message", { room_id: "no-such-room", message: "anyone?" });
      assert.deepEqual(outsider, { error: "Room not found", code: "room_not_found" });
      assert.deepEqual(nowhere, outsider, "a room's id reveals nothing to who is not in it");
      for (const [tool, args, code] of [
        ["enter_queue", {}, "already_chatting"],
        ["send_message", { room_id, message: " \n\t " }, "message_empty"],
        ["send_message", { room_id, message: "é".repeat(2_049) }, "message_too_large"],
        ["send_message", { room_id, message: "no cursor", wait_seconds: 1 }, "invalid_arguments"],
        ["get_status", { handle: "not-a-handle-of-anyone" }, "unknown_handle"],
        ["wait_for_events", { cursor: 1_000_000_000, wait_seconds: 0 }, "invalid_arguments"],
      ]) {
        const refused = await ann.refusal(tool, args);
        assert.equal(refused.code, code, `${tool} ${JSON.stringify(args).slice(0, 80)}`);
        const typed = Object.values(args).filter((value) => typeof value === "string");
        assert.deepEqual(
          typed.filter((text) => refused.error.includes(text)),
          [],
        );
      }
      assert.deepEqual(bob.heard.all(named("message.received")), []);
    });

    it("reads its inbox, and hears that it grew for as long as it subscribes to it", async (t) => {
      const there = gathering(t, broker, { generation });
      const [ann, bob] = [await there.session(), await there.session()];
      await ann.enter();
      const uri = inbox(ann);
      await ann.client.subscribeResource({ uri });
      const { room_id } = await bob.enter();
      await ann.heard.notification("notifications/resources/updated", { uri });
      await bob.call("send_message", { room_id, message: "in the inbox" });
      await ann.heard.several(2, named("notifications/resources/updated", { uri }));

      const { contents } = await ann.client.readResource({ uri });
      assert.equal(contents.length, 1);
      assert.equal(contents[0].mimeType, "application/json");
      const read = JSON.parse(contents[0].text);
      assert.deepEqual(
        read.events.map(({ method }) => method),
        ["chatroom.found", "message.received"],
      );
      const since = await ann.client.readResource({ uri: `${uri}?cursor=${read.events[0].params.cursor}` });
      assert.deepEqual(messages(JSON.parse(since.contents[0].text).events), ["in the inbox"]);

      await ann.client.unsubscribeResource({ uri });
      await bob.call("send_message", { room_id, message: "not subscribed" });
      await bob.call("send_message", { room_id, message: "and again" });
      await ann.heard.notification("message.received", { message: "and again" });
      assert.equal(ann.heard.all(named("notifications/resources/updated")).length, 2);
    });

    it("is told -32002 without the URI for the inbox of an unknown handle, and sees only the template listed", async (t) => {
      const ann = await gathering(t, broker, { generation }).session();
      const unknown = { uri: "chat://inbox/nobody-has-this-handle" };
      for (const method of ["readResource", "subscribeResource"]) {
        await assert.rejects(ann.client[method](unknown), (error) => {
          assert.equal(error.code, -32002);
          assert.ok(!JSON.stringify([error.message, error.data]).includes("nobody-has-this-handle"));
          return true;
        });
      }
      const { resourceTemplates } = await ann.client.listResourceTemplates();
      assert.deepEqual(
        resourceTemplates.map(({ uriTemplate }) => uriTemplate),
        ["chat://inbox/{handle}{?cursor}"],
      );
      const { resources } = await ann.client.listResources();
      assert.deepEqual(
        resources.map(({ name }) => name),
        ["lobby", "chat-window"],
      );
    });

    it("reads how many wait in the lobby, and gets the prompt that tells a model how to chat", async (t) => {
      const ann = await gathering(t, broker, { generation }).session();
      const lobby = async () => JSON.parse((await ann.client.readResource({ uri: "chat://lobby" })).contents[0].text);
      assert.equal((await lobby()).waiting, 0);
      await ann.enter();
      assert.equal((await lobby()).waiting, 1);
      const { messages: prompt } = await ann.client.getPrompt({ name: "chat" });
      assert.ok(prompt.length > 0);
      assert.match(prompt[0].content.text, /enter_queue/);
    });

    it("chats in sessions that last for one call each, by the handle alone", async () => {
      const once = (tool, args) => inOneSession(broker, { generation }, (person) => person.call(tool, args));
      const ann = await once("enter_queue", { display_name: "Ann" });
      const bob = await once("enter_queue", { display_name: "Bob" });
      broker.keepSecret(ann.handle).keepSecret(bob.handle);
      assert.equal(bob.status, "matched");
      const { room_id } = bob;
      await once("send_message", { handle: bob.handle, room_id, message: "one call, one session" });
      const told = await once("wait_for_events", {
        handle: ann.handle,
        cursor: ann.cursor,
        wait_seconds: WAIT_SECONDS,
      });
      assert.deepEqual(
        told.events.map(({ method }) => method),
        ["chatroom.found", "message.received"],
      );
      await once("leave_chat", { handle: ann.handle, room_id });
      const parted = await once("wait_for_events", {
        handle: bob.handle,
        cursor: bob.cursor,
        wait_seconds: WAIT_SECONDS,
      });
      assert.deepEqual(
        parted.events.map(({ method, params }) => [method, params.reason]),
        [["partner.disconnected", "left"]],
      );
    });

    it("hears on a stream that it reopens what it missed meanwhile, once and in order, and then what is new", async (t) => {
      const there = gathering(t, broker, { generation });
      const [ann, bob] = [await there.session(), await there.session()];
      const { room_id } = await pair(ann, bob);
      await bob.call("send_message", { room_id, message: "before" });
      await ann.heard.notification("message.received", { message: "before" });

      ann.line.cut();
      for (const message of ["missed 1", "missed 2"]) await bob.call("send_message", { room_id, message });
      ann.line.mend();
      const { lastEventId, status } = await ann.line.opening(2);
      assert.equal(status, 200);
      assert.ok(lastEventId, "the client names the last event that it has");
      await bob.call("send_message", { room_id, message: "after" });

      await ann.heard.notification("message.received", { message: "after" });
      assert.deepEqual(messages(ann.heard.all(named("message.received"))), ["before", "missed 1", "missed 2", "after"]);
      assert.equal(ann.heard.all(named("chatroom.found")).length, 1);
    });

    it("hears on a stream that broke before its first event what came meanwhile", async (t) => {
      const there = gathering(t, broker, { generation });
      const [ann, bob] = [await there.session(), await there.session()];
      await ann.enter();
      ann.line.cut();
      const { room_id } = await bob.enter();
      ann.line.mend();
      await ann.heard.notification("chatroom.found", { room_id });
    });

    it("passes its chat on to the session that presents its handle after it has ended", async (t) => {
      const there = gathering(t, broker, { generation });
      const [ann, bob] = [await connectSession(broker, { generation }), await there.session()];
      const { room_id } = await pair(ann, bob);
      await ann.close();
      const again = await there.session();
      const status = await again.call("get_status", { handle: ann.handle });
      assert.equal(status.status, "chatting");
      assert.equal(status.room_id, room_id);
      assert.equal(status.partner, "Bob");
      await bob.call("send_message", { room_id, message: "welcome back" });
      const { params } = await again.heard.notification("message.received", { message: "welcome back" });
      assert.equal(params._meta[CONNECTION], ann.connectionId);
      assert.deepEqual(bob.heard.all(named("partner.disconnected")), [], "the end of a session is not a departure");
    });

    it("leaves a broker that ends in time with exit code 0, and has printed no secret", () => broker.stop());
  });
}
