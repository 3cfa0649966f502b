"""A pytest case that reproduces what was decided at a position of a log."""
