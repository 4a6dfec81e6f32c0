"""Training: a pure step over a state of arrays, sharded by a table, and the loop around it."""
