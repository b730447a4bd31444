"""Sources read: cells, tabs, drawings, and the models in them."""
