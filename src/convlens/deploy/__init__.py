"""A trained run put to use: predictions, exported files."""
