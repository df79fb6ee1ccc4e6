"""Moving pictures of an operation: scenes of grids and frames, as a film and as a page that can be operated."""
