"""The broker: decisions on commands, the writer of the log, delivery to listeners, and presence.

`decide` and `matching` are pure. The writer appends, then folds, then announces, in that order and in one place.
Nothing here knows MCP or HTTP.
"""
