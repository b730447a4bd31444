"""Repeated experiments: what several trainings gave, as a table and a plot.

Nothing is trained here. What comes in is a trained model, the `history` of its
Trainer and its counted resources, whatever the framework.
"""

from statistics import mean, median

from d2l_utils.base import fast_mode


class Experiments:
    """Results of networks that are compared, each trained from several seeds.

    seeds: of the repetitions; in fast mode only the first is kept.
    """

    def __init__(self, seeds=(1, 2, 3)):
        self.seeds = tuple(seeds)
        if not self.seeds:
            raise ValueError("There must be at least one seed.")
        if fast_mode() and len(self.seeds) > 1:
            print(f"D2L_UTILS_FAST: 1 seed instead of {len(self.seeds)}.")
            self.seeds = self.seeds[:1]
        self.results = {}  # {name: [(model, history, resources)]}

    def add(self, name, model, history, resources):
        """Enter one training; those of the same name are repetitions.

        history: of the Trainer; resources: of the model, for one image.
        """
        self.results.setdefault(name, []).append((model, history, resources))

    def models(self, name):
        """The trained models of that name, one for each seed."""
        return [model for model, _, _ in self._named(name)]

    def accuracies(self, name):
        """Their validation accuracies after the last epoch."""
        return [history["val_acc"][-1] for _, history, _ in self._named(name)]

    def seconds(self, name):
        """Seconds of one epoch of training: the median of the last epochs."""
        return median(history["seconds"][-1] for _, history, _ in self._named(name))

    def table(self, *names):
        """The results of these names (default: all) as text, a line for each."""
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

    def plot(self, *names):
        """Draw the accuracy of every training of these names (default: all)."""
        from matplotlib import pyplot as plt

        names = names or tuple(self.results)
        size = (5.5, 0.9 + 0.33 * len(names))
        axes = plt.figure(figsize=size, dpi=70, layout="constrained").add_subplot()
        for row, name in enumerate(names):
            accuracies = self.accuracies(name)
            axes.plot(accuracies, [row] * len(accuracies), "o", color="C0", alpha=0.7)
            axes.plot(mean(accuracies), row, "|", color="black", markersize=16)
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlabel("validation accuracy (dots: seeds, bar: their mean)")
        axes.grid(True, axis="x")
        plt.show()

    def _named(self, name):
        if name not in self.results:
            raise ValueError(
                f"There are no results of {name!r}; there are {list(self.results)}."
            )
        return self.results[name]
