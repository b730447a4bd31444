"""Build code: from sources to notebooks and pages. The package does not import it."""

import sys

# On import, jsonschema, which nbformat needs, would build the grammar of a format that
# no notebook has, from this package: two seconds for each command.
_GRAMMAR = "rfc3987_syntax"
if _GRAMMAR not in sys.modules:
    sys.modules[_GRAMMAR] = None
    import nbformat  # noqa: F401

    del sys.modules[_GRAMMAR]
