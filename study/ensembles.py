"""Averages of networks that the study has trained: `python -m study.ensembles`.

Nothing is trained here. The class probabilities of two networks, kept beside their
records, are averaged, as those of seven were by Szegedy et al. (2015, section 7), and
scored as if one network had given them. Each average is a record like any other.
"""

import itertools
import json
import sys

import numpy as np

from d2l_utils import base, sources, study

PAIRS = {  # {average: its two variants, whose probabilities are kept}
    "two_nin28": ("nin28", "nin28"),
    "two_googlenet28": ("googlenet28", "googlenet28"),
    "nin28_and_googlenet28": ("nin28", "googlenet28"),
}
# What `d2l.study` compares: the networks alone, then their averages.
GROUPS = {"ensembles": [*dict.fromkeys(itertools.chain(*PAIRS.values())), *PAIRS]}


def members(pair, seeds):
    """{seed: the names of the two records that are averaged}.

    Of two variants, both are from that seed; of one variant, from that seed and the
    next. seeds: of which both variants have records.
    """
    after = dict(zip(seeds, [*seeds[1:], *seeds[:1]]))
    other = after if pair[0] == pair[1] else dict(zip(seeds, seeds))
    return {
        seed: (f"{pair[0]}.seed{seed}", f"{pair[1]}.seed{other[seed]}")
        for seed in seeds
        if pair[0] != pair[1] or other[seed] != seed
    }


def average(names, labels, folder):
    """(costs of both networks together, test scores of their average)"""
    records = [study.read(folder / f"{name}.json") for name in names]
    p = np.mean([np.load(folder / f"{name}.npz")["p"] for name in names], 0, float)
    p /= p.sum(axis=1, keepdims=True)  # they are stored in 16 bits
    counted = {
        key: sum(record["network"][key] for record in records)
        for key in ("params", "macs")
    }
    return counted, study.scores(p, labels)


def write(labels, folder=study.RESULTS):
    """Write all averages of which both records are there; returns their names."""
    written = []
    for name, pair in PAIRS.items():
        there = [
            {p.name.split(".")[1] for p in folder.glob(f"{variant}.seed*.npz")}
            for variant in pair
        ]
        seeds = sorted(int(s.removeprefix("seed")) for s in there[0] & there[1])
        for seed, names in members(pair, seeds).items():
            network, test = average(names, labels, folder)
            record = {
                "format": study.FORMAT,
                "variant": name,
                "seed": seed,
                "settings": {"average_of": names},
                "network": network,
                "history": {},
                "test": test,
            }
            path = folder / f"{name}.seed{seed}.json"
            base.replace_file(path, (json.dumps(record) + "\n").encode())
            written.append(path.stem)
    return written


def main():
    data = sources.load_fashion_mnist()
    if len(data.val.labels) != 10_000:
        sys.exit(
            "Only the sample of Fashion-MNIST is here: the study needs the full data."
        )
    print(*write(data.val.labels.astype(int)), sep="\n")


if __name__ == "__main__":
    sys.exit(main())
