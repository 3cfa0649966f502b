"""The official SDK's server with our handlers: what answers every request that the fast lane does not."""
