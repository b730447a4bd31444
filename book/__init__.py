"""Build code: from sources to notebooks and pages. The package does not import it."""
