"""The MCP tools: their catalogue, arguments, handlers and results."""
