"""The storage contract: ids, commands, events, commits, their encoding, and the ordered log.

Nothing here knows a rule of chat. A tag, once written, never changes (`events.codec`), and the golden files in
`tests/golden/` hold one specimen of each type.
"""
