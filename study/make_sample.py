"""Cut the sample that travels with the package: `python -m study.make_sample`.

The first 200 training and 50 validation images of each class, in their order,
as gzipped IDX files in d2l_utils/sample/. Needs the full data.
"""

import gzip
import sys

import numpy as np

from book.source import files
from d2l_utils.sources import FILES, SAMPLE, load_fashion_mnist

PER_CLASS = {"train": 200, "val": 50}


def encode_idx(array):
    """The inverse of `d2l_utils.sources.decode_idx`."""
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return header + array.tobytes()


def main():
    arrays = load_fashion_mnist()
    if arrays.is_sample:
        sys.exit("Only the sample of Fashion-MNIST is here: this needs the full data.")
    for part, n in PER_CLASS.items():
        images, labels = getattr(arrays, part)
        chosen = np.sort([np.flatnonzero(labels == c)[:n] for c in range(10)], None)
        for kind, array in (("images", images), ("labels", labels)):
            path = SAMPLE / f"{FILES[f'{part}_{kind}']}.gz"
            files.write(path, gzip.compress(encode_idx(array[chosen]), 9, mtime=0))
            print(f"{path.name}: {array[chosen].shape}, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    sys.exit(main())
