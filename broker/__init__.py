"""The broker: what is decided, what is stored, who hears of it, and who is still there.

`decide` and `matching` are pure. The runtime appends, then folds, then announces, in that order and in one place.
Nothing here knows MCP or HTTP.
"""
