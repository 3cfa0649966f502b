"""The log in NATS JetStream, for several brokers; it needs the extra `nats`."""
