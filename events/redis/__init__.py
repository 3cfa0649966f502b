"""The log in Redis or Valkey, for several brokers; it needs the extra `redis`."""
