"""Many clients on one real broker for a while: nothing lost, nothing doubled, nothing left over."""
