"""The listeners that every run has, in the order in which they are told. See `training.events`."""
