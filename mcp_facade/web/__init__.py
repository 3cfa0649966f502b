"""The faces for people: the chat page, and what it shares with other faces. Each is a client of `/mcp`."""
