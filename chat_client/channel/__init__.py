"""The command `chat-broker channel`: a bridge that wakes Claude Code when a stranger says something (experimental)."""
