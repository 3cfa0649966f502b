"""Several workers on one log, killed again and again with their store: nothing lost, and nobody present taken out."""
