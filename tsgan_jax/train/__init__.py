"""The training loop, independent of the method."""
