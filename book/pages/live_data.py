"""Data of the live NiN: `python -m book.pages.live_data WEIGHTS`.

From the weights of a NiN28 trained at 56 pixels, in safetensors, and the test images,
templates/live/nin.json: the weights in float16, and images for the reader to choose
from, of each class some that the network gets right and some that it gets wrong. It is
written only for a network that is right on nine of ten test images; what it was made
from stands in it. With it the drawing that stands where no script runs is made,
notebooks/img/nin_maps.svg. `run` is the network in NumPy, by which tests judge the
page's.
"""

import argparse
import base64
import hashlib
import json
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from book.pages import live_drawing
from book.pages.live import FOLDER
from book.source import files
from book.source.book import BOOK
from d2l_utils.data import LABELS, resize_matrices
from d2l_utils.sources import load_fashion_mnist

LEAST = 0.90  # accuracy on the test images
HITS, MISSES = 2, 2  # images of each class
CHUNK = 100  # images at a time
PARAMS = 149_542
CONVS = [  # kernel, stride, padding, and whether a pool (kernel, stride) follows
    (3, 1, 0, None), (1, 1, 0, None), (1, 1, 0, (2, 1)),
    (3, 2, 2, None), (1, 1, 0, None), (1, 1, 0, (2, 1)),
    (4, 2, 1, None), (1, 1, 0, None), (1, 1, 0, (3, 2)),
    (3, 1, 1, None), (1, 1, 0, None), (1, 1, 0, None),
]  # fmt: skip


def read_weights(path):
    """[(weight, bias)] of the convolutions, rounded to float16."""
    found = load_file(path)
    size = sum(a.size for a in found.values())
    if size != PARAMS:
        raise SystemExit(f"{path} has {size:,} parameters; a NiN28 has {PARAMS:,}.")
    return [
        tuple(found[f"conv{i}.{part}"].astype("<f2") for part in ("weight", "bias"))
        for i in range(len(CONVS))
    ]


def packed(weights):
    """The weights as the page reads them."""
    raw = b"".join(a.tobytes() for pair in weights for a in pair)
    return base64.b64encode(raw).decode()


def windows(X, kernel, stride):
    """Views (n, channels, rows, columns, kernel, kernel) of maps."""
    made = np.lib.stride_tricks.sliding_window_view(X, (kernel, kernel), (2, 3))
    return made[:, :, ::stride, ::stride]


def run(weights, images):
    """Maps (n, 10, 6, 6) of images (n, 28, 28) in bytes; their means are the logits."""
    R_h, R_w = resize_matrices((28, 28), (56, 56))
    X = R_h @ (images[:, None] / np.float32(255)).astype(np.float32) @ R_w.T
    for (W, b), (kernel, stride, p, pool) in zip(weights, CONVS, strict=True):
        X = np.pad(X, ((0, 0), (0, 0), (p, p), (p, p)))
        W, b = W.astype(np.float32), b.astype(np.float32)
        Y = np.tensordot(windows(X, kernel, stride), W, ((1, 4, 5), (1, 2, 3)))
        X = np.maximum(Y + b, 0).transpose(0, 3, 1, 2)
        if pool:
            X = windows(X, *pool).max(axis=(4, 5))
    return X


def logits_of(weights, images):
    parts = range(0, len(images), CHUNK)
    return np.concatenate(
        [run(weights, images[i : i + CHUNK]).mean(axis=(2, 3)) for i in parts]
    )


def window(cell):
    """The first and last of the 56 pixels a side that a cell of a map depends on."""
    first = last = cell
    for kernel, stride, padding, pool in reversed(CONVS):
        for k, s, p in ([(*pool, 0)] if pool else []) + [(kernel, stride, padding)]:
            first, last = first * s - p, last * s - p + k - 1
    return first, last


def chosen(labels, logits):
    """Numbers of the images to choose from: of each class the first that are right,
    and of those that are wrong the first that the network is sure of."""
    guesses, sure = logits.argmax(axis=1), np.ptp(logits, axis=1)
    found = []
    for c in range(10):
        right = np.flatnonzero((labels == c) & (guesses == c))[:HITS]
        wrong = np.flatnonzero((labels == c) & (guesses != c))
        wrong = np.sort(wrong[sure[wrong].argsort()[::-1][:MISSES]])
        found += [*right, *wrong]
    return [int(i) for i in found]


def data_of(path, images, labels, least=LEAST):
    """What nin.json holds; raises SystemExit for a network below `least`."""
    weights = read_weights(path)
    logits = logits_of(weights, images)
    accuracy = float((logits.argmax(axis=1) == labels).mean())
    if accuracy < least:
        raise SystemExit(
            f"{path} is right on {accuracy:.4f} of {len(labels):,} test images, less "
            f"than {least}: nothing was written."
        )
    which = chosen(labels, logits)
    raw = images[which].astype(np.uint8).tobytes()
    return {
        "made_from": hashlib.sha256(Path(path).read_bytes()).hexdigest(),
        "accuracy": round(accuracy, 4),
        "tested": len(labels),
        "weights": packed(weights),
        "images": base64.b64encode(raw).decode(),
        "labels": [int(c) for c in labels[which]],
        "guesses": [int(c) for c in logits[which].argmax(axis=1)],
    }


def drawing_of(weights, made):
    """The first image of nin.json and its maps, as SVG."""
    images = np.frombuffer(base64.b64decode(made["images"]), np.uint8)
    image = images.reshape(-1, 28, 28)[0]
    maps = run(weights, image[None])[0]
    looked_at = [window(cell) for cell in range(maps.shape[1])]
    return live_drawing.drawing(image, maps, looked_at, LABELS)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("weights", type=Path, help="a safetensors file of a NiN28")
    parser.add_argument("--out", type=Path, default=FOLDER / "nin.json")
    parser.add_argument(
        "--drawing", type=Path, default=BOOK.notebooks / "img/nin_maps.svg"
    )
    args = parser.parse_args(argv)
    found = load_fashion_mnist()
    images, labels = (np.asarray(a) for a in found.val)
    if len(labels) < 10_000:
        sys.exit(
            "Only the sample of Fashion-MNIST is here: this needs all 10,000 "
            "test images."
        )
    made = data_of(args.weights, images, labels)
    files.write(args.out, json.dumps(made) + "\n")
    files.write(args.drawing, drawing_of(read_weights(args.weights), made))
    size = args.out.stat().st_size / 1000
    print(f"{args.out}  {size:.0f} kB, accuracy {made['accuracy']:.4f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
