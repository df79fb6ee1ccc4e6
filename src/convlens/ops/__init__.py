"""Operations of convolutional networks in NumPy: each a pair of pure functions, forward and backward."""
