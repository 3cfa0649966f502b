/** The chat on the TypeScript SDK 2.x: 2026-07-28; a message marks the partner's inbox as grown, which they read. */
import { toNodeHandler } from "@modelcontextprotocol/node";
import { createMcpHandler, McpServer, ResourceTemplate } from "@modelcontextprotocol/server";
import { z } from "zod";
import { enter, read, result, send, serve } from "./chat.mjs";

const STREAMS_MAX = 20_000;

function tell(member, said) {
  member.unread.push(said);
  handler.notify.resourceUpdated(`chat://inbox/${member.handle}`);
}

function chatServer() {
  const mcp = new McpServer(
    { name: "typescript-modern", version: "1" },
    { capabilities: { resources: { subscribe: true } } },
  );
  mcp.registerTool("enter_queue", { inputSchema: z.object({ display_name: z.string() }) }, () => result(enter(tell)));
  mcp.registerTool(
    "send_message",
    { inputSchema: z.object({ room_id: z.string(), message: z.string(), handle: z.string() }) },
    ({ message, handle }) => result(send(handle, message)),
  );
  mcp.registerResource(
    "inbox",
    new ResourceTemplate("chat://inbox/{handle}", { list: undefined }),
    { mimeType: "application/json" },
    (uri, { handle }) => ({
      contents: [{ uri: uri.href, mimeType: "application/json", text: JSON.stringify(read(handle)) }],
    }),
  );
  return mcp;
}

const handler = createMcpHandler(chatServer, { legacy: "reject", maxSubscriptions: STREAMS_MAX });
serve(toNodeHandler(handler));
