"""The broker as an MCP server: tools, resources, a prompt, notifications, over Streamable HTTP in both eras.

The only package that knows `mcp`, `starlette` and `uvicorn`. It translates and decides nothing: a tool is parse,
submit, render.
"""
