"""The broker as an MCP server: tools, resources, a prompt, notifications, over Streamable HTTP in both eras.

No other package imports `mcp`, `starlette` or `uvicorn`. This one translates and decides nothing: a tool is parse,
submit, render.
"""
