"""HTTP: connections, the `/mcp` endpoint, and each request with its response."""
