"""The meaning of a log: pure reducers from commits to the queue, the rooms, the connections and the inboxes.

No I/O, no clock, no randomness, and no dependence on the iteration order of a hash table. The same log gives the same
state, always and everywhere (`projections.state.digest`).
"""
