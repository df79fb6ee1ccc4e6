"""Training: a validated recipe and one loop that can be read in a sitting."""
