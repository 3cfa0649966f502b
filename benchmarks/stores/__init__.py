"""The cost of a log in a store: figures, what is wanted of them, and whether that is met."""
