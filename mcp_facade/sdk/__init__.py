"""The official SDK's server with our handlers: it answers every request outside the fast lane."""
