"""What a message and an open stream cost the server, beside a bare ASGI server on the same machine."""
