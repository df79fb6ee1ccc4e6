"""The ground floor: errors, durable files, addressed randomness, progress, hardware. Imports no PyTorch."""
