"""The faces for people: the chat page, and what it shares with other faces. They are clients of `/mcp` like any other."""
