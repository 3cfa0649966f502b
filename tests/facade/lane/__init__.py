"""The fast lane, held to the SDK."""
