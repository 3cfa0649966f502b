"""Reading a log: sources, filters, short names, times, and the state around each commit."""
