"""The forms that a trained network can run in, measured on this machine: speed, memory, start-up, accuracy."""
