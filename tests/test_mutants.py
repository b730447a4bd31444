"""The faults of `make mutants` can be seeded: the code has not moved away from them.

Alone in this file, so that it is no test that sees a fault.
"""

import mutants
import pytest

from book.source.book import ROOT


@pytest.mark.parametrize("fault", mutants.FAULTS, ids=lambda fault: fault.name)
def test_faults_can_be_seeded(fault):
    text = (ROOT / fault.file).read_text(encoding="utf-8")
    assert mutants.with_fault(fault, text) != text
    assert (ROOT / "tests" / fault.tests).is_file()
