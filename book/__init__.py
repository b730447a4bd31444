"""Build code: from sources to notebooks and pages. The package does not import it."""

import sys

# On import, jsonschema, which nbformat needs, would load what checks formats that no
# notebook has. The first builds a grammar: two seconds for each command.
for _name in ("rfc3987_syntax", "isoduration"):
    sys.modules.setdefault(_name, None)
