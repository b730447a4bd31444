"""The texts in other languages."""
