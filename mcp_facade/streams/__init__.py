"""Notifications on open streams: the GET stream of a 2025 session, and `subscriptions/listen` of 2026-07-28."""
