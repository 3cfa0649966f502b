"""What the log means: pure reducers from commits to the queue, the rooms, the places and the inboxes.

No I/O, no clock, no randomness, and nothing depends on the iteration order of a hash table: the same log gives
the same state, everywhere and always (`projections.digest`).
"""
