"""For each framework: the layers that a batch passes, and their weights."""
