"""The cost of a log in a store: figures, the wanted values, and the verdict."""
