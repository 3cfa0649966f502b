"""Running a log's commands without some of them, or under another policy."""
