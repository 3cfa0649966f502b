"""Running a log's commands under another matching."""
