"""Generating a pytest case for the decision at a position of a log."""
