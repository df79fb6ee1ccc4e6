"""Receptive fields: what a cell of a layer can see of the image (`follow`), and what it listens to (`effective`)."""
