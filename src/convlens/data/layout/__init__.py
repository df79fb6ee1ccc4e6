"""What the paths of picture files, and tables beside them, say: which are of which class, which for training."""
