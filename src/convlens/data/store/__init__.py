"""Where decoded pictures are kept: the cache, and rows that are read when they are asked for."""
