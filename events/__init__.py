"""What is stored: ids, commands, events, commits, their encoding, and the ordered log that holds them.

Nothing here knows a rule of chat. The types are a storage contract: a tag, once written, never changes
(`events.codec`), and golden files in `tests/golden/` hold one specimen of each.
"""
