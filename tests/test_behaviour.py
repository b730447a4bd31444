"""The same behaviour as d2l 1.0.3, as recorded by `python -m bench.behaviour`."""

import json

import pytest

from bench import behaviour
from d2l_utils.frameworks import FRAMEWORKS

# FACTS of d2l 1.0.3 that are faults, or that differ on purpose: see docs/from-d2l.md.
NAMES_OF_FUNCTIONS = ("function", "PjitFunction")


def same(ours, theirs, where=""):
    """Compare numbers to 1e-5 and everything else exactly."""
    if isinstance(theirs, dict):
        assert theirs.keys() <= ours.keys(), where
        for key in theirs:
            same(ours[key], theirs[key], f"{where}/{key}")
    elif isinstance(theirs, list):
        assert len(ours) == len(theirs), where
        for i, pair in enumerate(zip(ours, theirs)):
            same(*pair, f"{where}/{i}")
    elif isinstance(theirs, float):
        assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-6), where
    else:
        assert ours == theirs, where


@pytest.fixture
def ours(framework, d2l):
    if framework == "mxnet":
        from mxnet import npx

        npx.set_np()
    last = FRAMEWORKS[framework].channels_last
    return behaviour.observe(framework, d2l, last)


def test_it_behaves_as_d2l_did(framework, d2l, ours):
    theirs = json.loads(behaviour.RECORDED.read_text())[framework]
    lines = theirs.pop("lenet"), ours.pop("lenet")
    assert len(lines[0]) == len(lines[1])
    for their_line, our_line in zip(*lines):
        name, _, shape = their_line.partition(" ")
        if name in NAMES_OF_FUNCTIONS:  # in JAX, a function's own name
            assert our_line.partition(" ")[2] == shape and our_line.split()[0] != name
        else:
            assert our_line == their_line
    same(ours, theirs)
