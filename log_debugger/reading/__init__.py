"""Reading a log: sources, filters, predicates, short names, times, and the state around each commit."""
