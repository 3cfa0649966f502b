"""Telling what a log says: in words, as a table, and one commit at a time."""
