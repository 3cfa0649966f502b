"""The fast lane, compared with the SDK."""
