"""Pages, slides and paper made from the notebooks."""
