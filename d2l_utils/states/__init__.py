"""All that training changes, as NumPy arrays and back, one file per framework."""
