"""Devices and their memory, one module per framework."""
