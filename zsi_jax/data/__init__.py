"""Data sets whose truth is known, and the loaders of real ones: numpy in, batches out."""
