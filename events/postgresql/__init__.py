"""The log in PostgreSQL, shared by several brokers, and its history for SQL."""
