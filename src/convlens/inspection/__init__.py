"""Looking into trained networks: takes modules and arrays, never a trainer."""
