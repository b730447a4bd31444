"""Notebooks made from the sources: editions, their outputs, other forms."""
