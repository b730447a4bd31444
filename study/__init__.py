"""Trainings whose results travel with the package."""
