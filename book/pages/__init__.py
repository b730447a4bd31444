"""Pages, slides and paper made from the notebooks."""

from pathlib import Path

TEMPLATES = Path(__file__).parent / "templates"
