"""Build code: from sources to notebooks and pages. The package does not import it."""

import contextlib
import sys

# On import, jsonschema, which nbformat needs, would build the grammar of a format that
# no notebook has, from this package: two seconds for each command.
_GRAMMAR = "rfc3987_syntax"
if _GRAMMAR not in sys.modules:
    sys.modules[_GRAMMAR] = None
    # The study runs where there is none, on machines with a GPU.
    with contextlib.suppress(ImportError):
        __import__("nbformat")
    del sys.modules[_GRAMMAR]
