/** The chat on the TypeScript SDK 1.x: 2025-11-25, sessions; a message goes to the partner's GET stream. */
import { randomUUID } from "node:crypto";
import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import { z } from "zod";
import { enter, result, send, serve } from "./chat.mjs";

const transports = new Map();

function chatServer() {
  const mcp = new McpServer({ name: "typescript-sessions", version: "1" });
  const tell = (_, params) => mcp.server.notification({ method: "message.received", params });
  mcp.registerTool("enter_queue", { inputSchema: { display_name: z.string() } }, (_, { sessionId }) =>
    result(enter(tell, sessionId)),
  );
  mcp.registerTool(
    "send_message",
    { inputSchema: { room_id: z.string(), message: z.string() } },
    ({ message }, { sessionId }) => result(send(sessionId, message)),
  );
  return mcp;
}

serve(async (request, response) => {
  let transport = transports.get(request.headers["mcp-session-id"]);
  if (transport === undefined) {
    transport = new StreamableHTTPServerTransport({
      sessionIdGenerator: randomUUID,
      onsessioninitialized: (id) => transports.set(id, transport),
    });
    await chatServer().connect(transport);
  }
  await transport.handleRequest(request, response);
});
