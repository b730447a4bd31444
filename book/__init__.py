"""Build code: from sources to notebooks and pages. The package does not import it."""

import sys

# nbformat imports jsonschema, which would import these to check formats that no
# notebook has. rfc3987_syntax builds a grammar: two seconds for each command.
for _name in ("rfc3987_syntax", "isoduration"):
    sys.modules.setdefault(_name, None)
