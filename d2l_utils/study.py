"""The study: long trainings from several seeds, run once, whose records travel along.

Nothing is trained here. A record is one training: a small JSON file in results/,
written by `make study`, with the settings, the results of every epoch, and the class
predicted for each test image. `study(name)` reads the records of one question.
"""

import base64
import itertools
import json
import math
import zlib
from functools import lru_cache
from pathlib import Path
from statistics import mean, stdev

import numpy as np

from d2l_utils import base
from d2l_utils.figures import COLORS, label_ends, subplots

RESULTS = Path(__file__).parent / "results"
GROUPS = RESULTS / "groups.json"  # {group: [variants in order]}, written by make study
FORMAT = 1
BINS = 15  # of a reliability diagram
DASHES = ("-", "--", ":", "-.")  # of curves, by seed
MOST_LABELS = 8  # that fit at the ends of curves
COUNTED = {"live": "live classes", "predicted": "predicted classes"}  # see `curves`
# 97.5 % quantiles of Student's t, by degrees of freedom: 95 % intervals of means.
T = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365}


class RecordError(ValueError):
    """A file is no record of a training, or there is none."""


def pack(classes: np.ndarray, labels: np.ndarray) -> str:
    """Predicted classes as a short text: how far each is from its label, mostly 0.

    Parameters:
        classes, labels: (n,) integers below 256.

    Returns:
        Text; `unpack` is the inverse.

    Example:
        >>> labels = np.array([3, 1, 2])
        >>> unpack(pack(np.array([3, 1, 0]), labels), labels)
        array([3, 1, 0])
    """
    distance = (np.asarray(classes, int) - labels) % 256
    return base64.b64encode(
        zlib.compress(distance.astype("uint8").tobytes(), 9)
    ).decode()


def unpack(text: str, labels: np.ndarray) -> np.ndarray:
    """The classes that `pack` was given.

    Parameters:
        text: what `pack` returned.
        labels: (n,) the same labels.

    Returns:
        (n,) integers.

    Raises:
        RecordError: there are not as many predictions as labels.

    Example:
        >>> unpack(pack(np.array([9]), np.array([2])), np.array([2]))
        array([9])
    """
    distance = np.frombuffer(zlib.decompress(base64.b64decode(text)), "uint8")
    if len(distance) != len(labels):
        raise RecordError(
            f"{len(distance)} predictions do not fit {len(labels)} labels."
        )
    return (distance.astype(int) + labels) % 256


def calibration(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, list]:
    """Counts for a reliability diagram (Guo et al., 2017).

    Parameters:
        probabilities: (n, classes).
        labels: (n,).

    Returns:
        For each of 15 equal bins of the largest probability: `count` of images,
        `confidence`, the sum of these probabilities, and `right`, how many of the
        guesses are right.

    Example:
        >>> calibration(np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0, 0]))["right"]
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]
    """
    confidence = probabilities.max(axis=1).astype(float)
    right = probabilities.argmax(axis=1) == labels
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)

    def counted(weights):
        return np.bincount(bins, weights, minlength=BINS)

    return {
        "count": counted(None).tolist(),
        "confidence": [round(x, 4) for x in counted(confidence).tolist()],
        "right": counted(right).astype(int).tolist(),
    }


def calibration_error(counts: dict[str, list]) -> float:
    """The expected calibration error: mean distance of confidence and accuracy.

    Parameters:
        counts: what `calibration` returned.

    Returns:
        A number from 0 to 1.

    Example:
        >>> calibration_error({"count": [2], "confidence": [1.5], "right": [1]})
        0.25
    """
    gaps = (abs(c - r) for c, r in zip(counts["confidence"], counts["right"]))
    return sum(gaps) / sum(counts["count"])


def cross_entropy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The mean negative logarithm of the probability of the true class.

    Parameters:
        probabilities: (n, classes).
        labels: (n,).

    Returns:
        In nats, to five digits.

    Example:
        >>> cross_entropy(np.array([[0.5, 0.5]]), np.array([0]))
        0.69315
    """
    p = probabilities[np.arange(len(labels)), labels]
    return round(float(-np.log(np.maximum(p, 1e-30)).mean()), 5)


def scores(probabilities: np.ndarray, labels: np.ndarray) -> dict:
    """What a record tells of a network, by its probabilities of the test images.

    Parameters:
        probabilities: (n, classes).
        labels: (n,).

    Returns:
        `accuracy`, `loss`, `classes` by `pack`, and `calibration`.

    Example:
        >>> scores(np.array([[0.9, 0.1]]), np.array([0]))["accuracy"]
        1.0
    """
    guesses = probabilities.argmax(axis=1)
    return {
        "accuracy": float((guesses == labels).mean()),
        "loss": cross_entropy(probabilities, labels),
        "classes": pack(guesses, labels),
        "calibration": calibration(probabilities, labels),
    }


def interval(values: list[float]) -> tuple[float, float]:
    """Mean, and half the width of its 95 % interval by Student's t.

    Parameters:
        values: one for each seed, at most 8; for one alone the width is infinite.

    Returns:
        (mean, half width).

    Example:
        >>> middle, half = interval([0.90, 0.91, 0.92])
        >>> round(middle, 3), round(half, 3)
        (0.91, 0.025)
    """
    n = len(values)
    if n < 2:
        return mean(values), math.inf
    return mean(values), T[n - 1] * stdev(values) / math.sqrt(n)


def read(path: Path) -> dict:
    """One record.

    Parameters:
        path: of a file in results/.

    Returns:
        The record, a dictionary.

    Raises:
        RecordError: for a file that is cut short, damaged, or of another format.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RecordError(f"{path.name} is damaged ({error}); delete it.") from None
    there = record.get("format") if isinstance(record, dict) else None
    if there != FORMAT:
        raise RecordError(
            f"{path.name} has format {there!r}, but only {FORMAT} can be read here."
        )
    lacking = {"variant", "seed", "settings", "history"} - set(record)
    if lacking:
        raise RecordError(f"{path.name} lacks {', '.join(sorted(lacking))}; delete it.")
    return record


@lru_cache
def groups() -> dict[str, list[str]]:
    """The questions of the study.

    Returns:
        {name for `study`: names of its variants}.
    """
    return json.loads(GROUPS.read_text(encoding="utf-8"))


def study(name: str) -> "Study":
    """The records of one question that travel with the package.

    Parameters:
        name: of a question, such as 'nin_1x1', or of one network.

    Returns:
        A `Study`, with a table, plots, and paired differences.

    Raises:
        RecordError: for an unknown name; it lists those that are there.

    Example:
        >>> print(d2l.study("scale").table())
        >>> d2l.study("nin_1x1").difference("nin28", "three_1x1")
    """
    names = groups()
    if name in names:
        return Study(name, names[name])
    if any(name in variants for variants in names.values()):
        return Study(name, [name])
    raise RecordError(
        f"There is no study {name!r}; there are {', '.join(names) or 'none at all'}."
        f"{base.about_part()}"
    )


class Study:
    """Records of several networks to compare, each from several seeds.

    `records` is {name: [a record for each seed]}; the list of a network that was not
    trained yet is empty.

    Parameters:
        name: of the question.
        variants: the names of its networks.
        folder: where the records are.

    Example:
        >>> scale = d2l.study("scale")
        >>> scale.accuracies("lenet")
        [0.9143, 0.9151, 0.9147]
    """

    def __init__(self, name: str, variants: list[str], folder: Path = RESULTS) -> None:
        self.name = name
        self.records = {
            v: sorted(
                map(read, folder.glob(f"{v}.seed*.json")), key=lambda r: r["seed"]
            )
            for v in variants
        }

    def of(self, name: str) -> list[dict]:
        """The records of one network.

        Parameters:
            name: of the network.

        Returns:
            A list with a record for each seed.

        Raises:
            RecordError: there are none.
        """
        if not self.records.get(name):
            there = [n for n, found in self.records.items() if found]
            raise RecordError(
                f"There are no records of {name!r} in the study {self.name!r} yet; "
                f"there are {', '.join(there) or 'none at all'}."
            )
        return self.records[name]

    def values(self, name: str, *keys: str) -> list:
        """One result of a network.

        Parameters:
            name: of the network.
            keys: where it stands in a record, as 'train', 'loss'.

        Returns:
            What is there, for each seed.

        Raises:
            RecordError: there are no records of that name, or they lack this result.

        Example:
            >>> d2l.study("heads").values("nin28_dense_1000", "train", "accuracy")
        """
        found = self.of(name)
        for key in keys:
            if any(key not in part for part in found):
                raise RecordError(
                    f"The records of {name!r} have no {key!r} there; there are "
                    f"{', '.join(found[0])}.{base.about_part()}"
                )
            found = [part[key] for part in found]
        return found

    def accuracies(self, name: str) -> list[float]:
        """The accuracy of one network on the test images.

        Parameters:
            name: of the network.

        Returns:
            A number for each seed.

        Raises:
            RecordError: there are no records of that name.
        """
        return self.values(name, "test", "accuracy")

    def classes(self, name: str, labels: np.ndarray) -> np.ndarray:
        """What one network took the test images for.

        Parameters:
            name: of the network.
            labels: (10000,), of the test images, as `data.val.labels`.

        Returns:
            (seeds, 10000) integers.

        Raises:
            RecordError: there are no records of that name, or labels of another number.
        """
        packed = self.values(name, "test", "classes")
        return np.stack([unpack(text, labels) for text in packed])

    def difference(self, a: str, b: str) -> str:
        """How the accuracy of b differs from that of a, from the same seeds.

        Parameters:
            a, b: names of networks.

        Returns:
            A sentence with the mean of the paired differences in percentage points and
            its 95 % interval; where this includes zero, that no difference is seen.

        Raises:
            RecordError: one of them has no records, or they have no common seed.
        """
        results = [
            {r["seed"]: r["test"]["accuracy"] for r in self.of(n)} for n in (a, b)
        ]
        seeds = sorted(set(results[0]) & set(results[1]))
        if not seeds:
            raise RecordError(f"{a} and {b} were trained from no common seed.")
        middle, half = interval([100 * (results[1][s] - results[0][s]) for s in seeds])
        text = f"{b} - {a}: {middle:+.2f} percentage points"
        if math.isinf(half):
            return f"{text} (one seed, so no interval)"
        text += f", 95 % interval {middle - half:+.2f} to {middle + half:+.2f}"
        text += f" ({len(seeds)} seeds)"
        return text + (": no difference seen" if abs(middle) <= half else "")

    def table(self, *names: str) -> str:
        """A table of networks.

        Parameters:
            names: of the networks; without any, all that have records.

        Returns:
            Text: a line for each, with parameters, MACs, the chosen learning rate, and
            the accuracy on the test images with its 95 % interval.

        Raises:
            RecordError: there are no records of one of these names.
        """
        there = names or [name for name, found in self.records.items() if found]
        width = max(map(len, [*there, "network"]))
        lines = [
            f"{'network':{width}}{'params':>12}{'MACs':>15}{'lr':>7}{'epochs':>8}"
            f"{'accuracy ± 95 %':>17}{'seeds':>7}"
        ]
        for name in there:
            record = self.of(name)[0]
            network, settings = record["network"], record["settings"]
            lr, epochs = (settings.get(key, "-") for key in ("lr", "epochs"))
            accuracies = self.accuracies(name)
            middle, half = interval(accuracies)
            about = " " * 9 if math.isinf(half) else f" ± {half:.4f}"
            lines.append(
                f"{name:{width}}{network['params']:12,}{network['macs']:15,}"
                f"{lr:>7}{epochs:>8}{middle:>8.4f}{about}{len(accuracies):>7}"
            )
        return "\n".join(lines)

    def plot(self) -> None:
        """Draw the accuracy of every training, and the means with their intervals."""
        there = [name for name, found in self.records.items() if found]
        axes = subplots(1, 1, (6, 0.9 + 0.33 * len(there)), layout="constrained")[1]
        for row, name in enumerate(there):
            accuracies = self.accuracies(name)
            middle, half = interval(accuracies)
            axes.plot(
                accuracies, [row] * len(accuracies), "o", color=COLORS[0], alpha=0.6
            )
            if math.isfinite(half):
                axes.errorbar(middle, row, xerr=half, color="black", capsize=4)
            axes.plot(middle, row, "|", color="black", markersize=14)
        axes.set_yticks(range(len(there)), there)
        axes.set_ylim(len(there) - 0.5, -0.5)
        axes.set_xlabel("test accuracy (dots: seeds; bars: mean, 95 % interval)")
        axes.grid(False, axis="y")

    def curves(
        self, key: str = "train_loss", window: int = 1,
        names: dict[str, str] | None = None,
    ) -> None:  # fmt: skip
        """Draw a result over the epochs, or over the steps: a line for each training,
        in the colour of its network and dashed by its seed.

        Parameters:
            key: of the history, as 'train_loss' or 'val_acc', or of what was watched
                step by step: 'loss', 'live' (classes whose logit is not the same for
                all images of the batch) and 'predicted' (classes that are guessed).
            window: each point is the mean of so many, for curves that are noisy.
            names: {name of a network: what is written at its curves}, of those to draw;
                by default all.

        Raises:
            RecordError: no record has this result, or there is none of such a name.

        Example:
            >>> d2l.study("plateau").curves("loss", window=20)
        """
        axes, drawn = subplots(1, 1, (6, 3.2), layout="constrained")[1], []
        stepwise = False
        names = names or {name: name for name, found in self.records.items() if found}
        for color, (name, label) in zip(itertools.cycle(COLORS), names.items()):
            for record, dashes in zip(self.of(name), itertools.cycle(DASHES)):
                values = record.get("steps", {}).get(key)
                stepwise |= values is not None
                values = values or record["history"].get(key, [])
                if len(values) < window:
                    continue
                means = np.convolve(values, np.full(window, 1 / window), "valid")
                x = np.arange(len(means)) + (window - 1) / 2 + (not stepwise)
                drawn += axes.plot(
                    x, means, dashes, color=color, alpha=0.7, lw=1.2, label=label
                )
        if not drawn:
            raise RecordError(f"No record of the study {self.name!r} has {key!r}.")
        axes.set_xlabel("step" if stepwise else "epoch")
        axes.set_ylabel(COUNTED.get(key, key.replace("_", " ")))
        if len(drawn) > MOST_LABELS:  # one for each network
            drawn = list({line.get_label(): line for line in drawn}.values())
        label_ends(axes, drawn)
