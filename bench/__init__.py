"""Speed and memory, measured against d2l 1.0.3 and plain loops; see README.md."""
