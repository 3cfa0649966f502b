"""The timeline of a log as one HTML page."""
