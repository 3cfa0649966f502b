/** The chat that both servers serve: members, pairs, and what is unread. No log, no limits. */
import { randomBytes } from "node:crypto";
import { createServer } from "node:http";

const members = new Map();
let waiting = null;
let cursor = 0;

/** A new member, met with whoever waits; `names` are what it is found by later, besides its handle. */
export function enter(tell, ...names) {
  const member = { handle: randomBytes(24).toString("base64url"), tell, room: "", partner: null, unread: [] };
  for (const name of [member.handle, ...names]) members.set(name, member);
  const partner = waiting;
  waiting = partner === null ? member : null;
  if (partner === null) return { handle: member.handle, status: "waiting" };
  member.partner = partner;
  partner.partner = member;
  member.room = partner.room = randomBytes(16).toString("hex");
  return { handle: member.handle, status: "matched", room_id: member.room };
}

/** Says `message` to the partner of whoever `name` finds. */
export function send(name, message) {
  const { partner } = members.get(name);
  const timestamp = new Date().toISOString();
  partner.tell(partner, { room_id: partner.room, message, timestamp, cursor: ++cursor });
  return { success: true, timestamp };
}

/** What was said to the holder of `handle` since they last asked. */
export function read(handle) {
  const member = members.get(handle);
  const { unread } = member;
  member.unread = [];
  return unread;
}

/** What a tool gives: structured, and the same JSON as text. */
export function result(payload) {
  return { content: [{ type: "text", text: JSON.stringify(payload) }], structuredContent: payload };
}

/** Serves `/readyz`, and everything else by `handle`, on the loopback port that the command line names. */
export function serve(handle) {
  const port = Number(process.argv[process.argv.indexOf("--port") + 1]);
  const server = createServer((request, response) => {
    if (request.url === "/readyz") response.end("{}");
    else handle(request, response);
  });
  server.keepAliveTimeout = 75_000;
  server.requestTimeout = 0;
  server.listen(port, "127.0.0.1", 2_048);
  process.on("SIGTERM", () => process.exit(0));
}
