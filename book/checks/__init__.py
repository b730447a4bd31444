"""Checks of the whole: parity of the frameworks, other versions."""
