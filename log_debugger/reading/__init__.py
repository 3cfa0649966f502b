"""Reading a log: where its commits come from, which of them are asked for, and the state around each."""
