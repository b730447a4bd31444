"""Results of several trainings, compared in a table and a plot.

Nothing is trained here. One enters trained models of any framework, each with the
`history` of its Trainer and its `resources`.
"""

from collections.abc import Iterable
from statistics import mean, median
from typing import Any

from d2l_utils.base import fast_mode
from d2l_utils.figures import COLORS, subplots


class Experiments:
    """Results of networks to compare, each trained from several seeds.

    Parameters:
        seeds: one for each repetition. In fast mode only the first is kept.

    Raises:
        ValueError: there are no seeds.

    Example:
        >>> from types import SimpleNamespace
        >>> experiments = Experiments(seeds=[1, 2])
        >>> for seed in experiments.seeds:  # here one would train
        ...     history = {"val_acc": [0.5, 0.7], "seconds": [9.0, 8.0]}
        ...     counted = SimpleNamespace(params=149_542, macs=9_477_760)
        ...     experiments.add("NiN28", None, history, counted)
        >>> experiments.accuracies("NiN28")
        [0.7, 0.7]
    """

    def __init__(self, seeds: Iterable[int] = (1, 2, 3)) -> None:
        self.seeds = tuple(seeds)
        if not self.seeds:
            raise ValueError("There must be at least one seed.")
        if fast_mode() and len(self.seeds) > 1:
            print(f"D2L_UTILS_FAST: 1 seed instead of {len(self.seeds)}.")
            self.seeds = self.seeds[:1]
        # {name: [(model, history, resources)]}
        self.results: dict[str, list[tuple[Any, dict, Any]]] = {}

    def add(self, name: str, model: Any, history: dict, resources: Any) -> None:
        """Enter one training.

        Parameters:
            name: of the network; trainings with the same name are its repetitions.
            model: the trained model.
            history: `trainer.history`.
            resources: what `resources(model, X_shape)` returned, for one image.
        """
        self.results.setdefault(name, []).append((model, history, resources))

    def models(self, name: str) -> list:
        """The trained models of one name.

        Parameters:
            name: of the network.

        Returns:
            One model for each seed.

        Raises:
            ValueError: there are no results of that name.
        """
        return [model for model, _, _ in self._named(name)]

    def accuracies(self, name: str) -> list[float]:
        """The validation accuracies of one name after the last epoch.

        Parameters:
            name: of the network.

        Returns:
            One accuracy for each seed.

        Raises:
            ValueError: there are no results of that name.
        """
        return [history["val_acc"][-1] for _, history, _ in self._named(name)]

    def seconds(self, name: str) -> float:
        """How long an epoch takes.

        Parameters:
            name: of the network.

        Returns:
            Seconds of the last epoch, the median over the seeds.

        Raises:
            ValueError: there are no results of that name.
        """
        return median(history["seconds"][-1] for _, history, _ in self._named(name))

    def table(self, *names: str) -> str:
        """A table of the results.

        Parameters:
            names: of networks; without any, all of them.

        Returns:
            Text with a line for each name.

        Raises:
            ValueError: there are no results of one of these names.
        """
        names = names or tuple(self.results)
        width = max(map(len, names))
        head = f"{'':{width}}{'parameters':>12}{'MACs':>14}{'s/epoch':>9}"
        lines = [f"{head}  validation accuracy: mean, lowest, highest"]
        for name in names:
            counted, accuracies = self._named(name)[0][2], self.accuracies(name)
            numbers = (mean(accuracies), min(accuracies), max(accuracies))
            lines.append(
                f"{name:{width}}{counted.params:12,}{counted.macs:14,}"
                f"{self.seconds(name):9.1f}  {'  '.join(f'{a:.3f}' for a in numbers)}"
                f"  ({len(accuracies)} seed{'s' * (len(accuracies) > 1)})"
            )
        return "\n".join(lines)

    def plot(self, *names: str) -> None:
        """Draw the accuracy of every training, and the means.

        Parameters:
            names: of networks; without any, all of them.

        Raises:
            ValueError: there are no results of one of these names.
        """
        names = names or tuple(self.results)
        axes = subplots(1, 1, (5.5, 0.9 + 0.33 * len(names)), layout="constrained")[1]
        for row, name in enumerate(names):
            accuracies = self.accuracies(name)
            axes.plot(
                accuracies, [row] * len(accuracies), "o", color=COLORS[0], alpha=0.7
            )
            axes.plot(mean(accuracies), row, "|", color="black", markersize=16)
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlabel("validation accuracy (dots: seeds, bar: their mean)")
        axes.grid(False, axis="y")

    def _named(self, name):
        if name not in self.results:
            raise ValueError(
                f"There are no results of {name!r}; there are {list(self.results)}."
            )
        return self.results[name]
