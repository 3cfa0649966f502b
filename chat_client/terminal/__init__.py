"""The command `chat-broker chat`: conversations in a terminal, on the client of this package."""
