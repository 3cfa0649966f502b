"""Costs of a message and of an open stream, beside a bare ASGI server on the same machine."""
