/** The stateless wire of 2026-07-28, through the official 2.x client; by hand where it has no call for it. */
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";

import { Broker } from "./support/broker.mjs";
import { named } from "./support/heard.mjs";
import { connectModern, gathering, pair } from "./support/people.mjs";
import { CONNECTION, EVENTS_EXTENSION, SUBSCRIPTION, listen, request } from "./support/wire.mjs";

const WAIT_SECONDS = 20;
const MISSING_CAPABILITY = -32021;
const INVALID_PARAMS = -32602;

const inbox = (person) => `chat://inbox/${person.handle}`;
const events = (...people) => ({ [EVENTS_EXTENSION]: { handles: people.map(({ handle }) => handle) } });
const messages = (given) => given.map(({ params }) => params.message).filter((text) => text !== undefined);

describe("a 2026-07-28 client", () => {
  let broker;
  before(async () => (broker = await Broker.start()));
  after(() => broker?.kill());

  it("discovers both the version and the extension, whether it asks for 2026-07-28 or for what there is", async (t) => {
    const there = gathering(t, broker);
    for (const mode of ["auto", { pin: "2026-07-28" }]) {
      const ann = await there.modern({ mode });
      assert.equal(ann.client.getNegotiatedProtocolVersion(), "2026-07-28");
      const capabilities = ann.client.getServerCapabilities();
      assert.ok(EVENTS_EXTENSION in capabilities.extensions);
      assert.equal(capabilities.resources.subscribe, true);
    }
  });

  it("chats by its handle and the tools alone", async (t) => {
    const there = gathering(t, broker);
    const [ann, bob] = [await there.modern({ events: false }), await there.modern({ events: false })];
    const { room_id, waiting, matched } = await pair(ann, bob);
    const found = await ann.call("wait_for_events", {
      handle: ann.handle,
      cursor: waiting.cursor,
      wait_seconds: WAIT_SECONDS,
    });
    assert.deepEqual(
      found.events.map(({ method, params }) => [method, params.partner]),
      [["chatroom.found", "Bob"]],
    );
    const asked = ann.call("send_message", {
      handle: ann.handle,
      room_id,
      message: "question",
      cursor: found.cursor,
      wait_seconds: WAIT_SECONDS,
    });
    const heard = await bob.call("wait_for_events", {
      handle: bob.handle,
      cursor: matched.cursor,
      wait_seconds: WAIT_SECONDS,
    });
    assert.deepEqual(messages(heard.events), ["question"]);
    await bob.call("send_message", { handle: bob.handle, room_id, message: "answer" });
    const answered = await asked;
    assert.deepEqual(messages(answered.events), ["answer"]);
    await bob.call("leave_chat", { handle: bob.handle, room_id });
    const parted = await ann.call("wait_for_events", {
      handle: ann.handle,
      cursor: answered.cursor,
      wait_seconds: WAIT_SECONDS,
    });
    assert.deepEqual(
      parted.events.map(({ method, params }) => [method, params.reason]),
      [["partner.disconnected", "left"]],
    );
    assert.equal(parted.status, "idle");
  });

  it("has no handle but the one that it passes", async (t) => {
    const there = gathering(t, broker);
    const ann = await there.modern();
    await ann.enter();
    const idle = await ann.call("get_status");
    assert.equal(idle.status, "idle");
    assert.equal(idle.connection_id, undefined);
    const again = await ann.call("enter_queue", { handle: ann.handle });
    assert.equal(again.connection_id, ann.connectionId, "entering again while waiting changes nothing");
    assert.equal(again.position, 1);
  });

  it("hears what happens to its connection on a listen stream, without a session", async (t) => {
    const there = gathering(t, broker);
    const [ann, bob] = [await there.modern(), await there.modern()];
    await ann.enter({ display_name: "Ann" });
    const subscription = await ann.client.listen(events(ann));
    const { room_id } = await bob.enter({ display_name: "Bob" });
    const found = await ann.heard.notification("chatroom.found", { room_id, partner: "Bob" });
    assert.equal(found.params._meta[CONNECTION], ann.connectionId);
    const texts = ["one", "two", "three"];
    for (const message of texts) await bob.call("send_message", { handle: bob.handle, room_id, message });
    assert.deepEqual(messages(await ann.heard.several(3, named("message.received"))), texts);
    await bob.call("leave_chat", { handle: bob.handle, room_id });
    const { params } = await ann.heard.notification("partner.disconnected", { room_id });
    assert.equal(params.reason, "left");
    await subscription.close();
    assert.equal(await subscription.closed, "local");
    assert.deepEqual(bob.heard.all(), [], "a client that listens to nothing hears nothing");
  });

  it("chats with a client of a 2025-11-25 session", async (t) => {
    const there = gathering(t, broker);
    const [ann, bob] = [await there.session(), await there.modern()];
    const { room_id } = await pair(ann, bob);
    await bob.client.listen(events(bob));
    await ann.call("send_message", { room_id, message: "from 2025" });
    await bob.heard.notification("message.received", { message: "from 2025" });
    await bob.call("send_message", { handle: bob.handle, room_id, message: "from 2026" });
    await ann.heard.notification("message.received", { message: "from 2026" });
    await bob.call("leave_chat", { handle: bob.handle, room_id });
    await ann.heard.notification("partner.disconnected", { room_id });
  });

  it("hears that the inbox grew, with no extension, and reads what is new in it", async (t) => {
    const there = gathering(t, broker);
    const [ann, bob] = [await there.modern({ events: false }), await there.modern()];
    await ann.enter();
    const uri = inbox(ann);
    const subscription = await ann.client.listen({ resourceSubscriptions: [uri, "chat://inbox/of-nobody"] });
    assert.deepEqual(subscription.honoredFilter.resourceSubscriptions, [uri], "an unknown handle is left out");
    const { room_id } = await bob.enter();
    await ann.heard.notification("notifications/resources/updated", { uri });
    const read = async (from) => JSON.parse((await ann.client.readResource({ uri: from })).contents[0].text);
    const first = await read(uri);
    assert.deepEqual(
      first.events.map(({ method }) => method),
      ["chatroom.found"],
    );
    await bob.call("send_message", { handle: bob.handle, room_id, message: "news" });
    await ann.heard.several(2, named("notifications/resources/updated", { uri }));
    assert.deepEqual(messages((await read(`${uri}?cursor=${first.cursor}`)).events), ["news"]);
    assert.deepEqual(messages((await read(uri)).events), ["news"], "no client serves an inbox from its cache");
  });

  it("is told which capability it lacks when it asks for events without the extension", async (t) => {
    const ann = await gathering(t, broker).modern({ events: false });
    await ann.enter();
    await assert.rejects(ann.client.listen(events(ann)), (error) => {
      assert.equal(error.code, MISSING_CAPABILITY);
      assert.ok(EVENTS_EXTENSION in error.data.requiredCapabilities.extensions);
      return true;
    });
  });

  it("is told -32602 without the URI for the inbox of an unknown handle", async (t) => {
    const ann = await gathering(t, broker).modern();
    await assert.rejects(ann.client.readResource({ uri: "chat://inbox/nobody-has-this-handle" }), (error) => {
      assert.equal(error.code, INVALID_PARAMS);
      assert.ok(!JSON.stringify([error.message, error.data]).includes("nobody-has-this-handle"));
      return true;
    });
  });

  it("is acknowledged first with the handles that are honoured, and every frame names its subscription", async (t) => {
    const there = gathering(t, broker);
    const [ann, bob] = [await there.modern(), await there.modern()];
    await ann.enter();
    const stream = await listen(broker, {
      toolsListChanged: true,
      ...events(ann, { handle: "nobody-has-this-handle" }),
      resourceSubscriptions: [inbox(ann)],
    });
    t.after(() => stream.close());
    const { room_id } = await bob.enter();
    await stream.heard.notification("chatroom.found", { room_id });
    await stream.heard.notification("notifications/resources/updated", { uri: inbox(ann) });
    const [acknowledged, ...rest] = stream.heard.all();
    assert.equal(acknowledged.method, "notifications/subscriptions/acknowledged");
    assert.deepEqual(acknowledged.params.notifications, { ...events(ann), resourceSubscriptions: [inbox(ann)] });
    assert.equal(acknowledged.params._meta[SUBSCRIPTION], stream.id);
    for (const { params } of rest) {
      assert.equal(params._meta[SUBSCRIPTION], stream.id);
      assert.equal(params._meta[CONNECTION], ann.connectionId);
    }
  });

  it("hears on one stream of two connections which of them each frame is for", async (t) => {
    const there = gathering(t, broker);
    const [ann, bob] = [await there.modern(), await there.modern()];
    const { room_id } = await pair(ann, bob);
    const stream = await listen(broker, events(ann, bob));
    t.after(() => stream.close());
    await ann.call("send_message", { handle: ann.handle, room_id, message: "to Bob" });
    await bob.call("send_message", { handle: bob.handle, room_id, message: "to Ann" });
    for (const [message, person] of [
      ["to Bob", bob],
      ["to Ann", ann],
    ]) {
      const { params } = await stream.heard.notification("message.received", { message });
      assert.equal(params._meta[CONNECTION], person.connectionId);
    }
  });

  it("gets a JSON-RPC error for a tool that there is not, and a refusal for arguments that do not fit", async () => {
    const unknown = await request(broker, "tools/call", { name: "no_such_tool", arguments: {} });
    assert.equal(unknown.error.code, INVALID_PARAMS);
    const { result } = await request(broker, "tools/call", {
      name: "send_message",
      arguments: { room_id: 7, message: ["not", "a", "text"] },
    });
    assert.equal(result.isError, true);
    assert.equal(JSON.parse(result.content[0].text).code, "invalid_arguments");
  });

  it("leaves a broker that ends in time with exit code 0, and has printed no secret", () => broker.stop());
});

describe("a broker that is asked to stop", () => {
  it("answers those who wait, ends listen streams gracefully and exits 0 in time", async (t) => {
    const broker = await Broker.start();
    const ann = await connectModern(broker);
    t.after(async () => {
      await ann.close();
      await broker.kill();
    });
    const { cursor } = await ann.enter();
    const subscription = await ann.client.listen(events(ann));
    const waited = ann.call("wait_for_events", { handle: ann.handle, cursor, wait_seconds: WAIT_SECONDS });
    // the wait is in flight once the broker answers what was asked after it
    await ann.call("get_status", { handle: ann.handle });
    broker.terminate();
    const { events: told, timed_out } = await waited;
    assert.deepEqual([told, timed_out], [[], true]);
    assert.equal(await subscription.closed, "graceful");
    await broker.stop();
  });
});
