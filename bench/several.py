"""What several devices cost and can give: `python -m bench.several [--paper]`.

Measured: a step of NiN28 on two and on four virtual devices against one; together they
always have all of the processor. On paper: a step's time over the number of GPUs,
computing and exchanging gradients. Both go into docs/several-devices.md; with --paper,
nothing is measured.
"""

import argparse
import io
import json
import subprocess
import sys
from importlib import import_module
from statistics import median

from book.source import cells, files, readme
from book.source.book import ROOT
from d2l_utils.frameworks import FRAMEWORKS
from d2l_utils.host import cpu_text, processor_name

PAGE = ROOT / "docs" / "several-devices.md"
PLOT = ROOT / "docs" / "img" / "several-devices.svg"
ROUNDS, STEPS, BATCH_SIZE = 5, 30, 128
DEVICES = {1: "one device", 2: "two", 4: "four"}
LINKS = {  # bytes a second, in each direction
    "NVLink": 300e9, "PCIe 4.0 x16": 25e9, "100 Gbit/s": 12.5e9, "10 Gbit/s": 1.25e9,
}  # fmt: skip
PARAMETERS = {"NiN": 1_992_166, "GoogLeNet": 5_977_530}
RATE = 10_000  # images a second of one GPU
SHARE = 0.1  # of a step's time, for the exchange


# Measured -----------------------------------------------------------------------------


def worker(framework):
    """Print, of each round, the seconds of an epoch on as many DEVICES."""
    d2l = import_module(FRAMEWORKS[framework].here)
    d2l.virtual_devices(max(DEVICES))
    NiN28 = cells.load("nin", framework)["NiN28"]
    data = d2l.FashionMNIST(BATCH_SIZE)
    kept = STEPS * BATCH_SIZE
    data.train = data.train.images[:kept], data.train.labels[:kept]
    data.val = data.val.images[:BATCH_SIZE], data.val.labels[:BATCH_SIZE]

    def seconds(num_gpus):
        d2l.set_seed(1)
        model = NiN28()
        model.board.display = False
        trainer = d2l.Trainer(2, num_gpus=num_gpus, precision="float32")
        trainer.fit(model, data)
        return trainer.history["seconds"][1]  # the first epoch compiles

    print(json.dumps([[seconds(n) for n in DEVICES] for _ in range(ROUNDS)]))


def measured():
    """The table of what was measured, as Markdown."""
    rows = [["", *DEVICES.values(), "two against one", "four against one"]]
    for framework in FRAMEWORKS:
        command = [sys.executable, "-m", "bench.several", "--worker", framework]
        done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE)
        rounds = json.loads(done.stdout.splitlines()[-1])
        times = [median(seconds) / STEPS for seconds in zip(*rounds)]
        rows.append([
            FRAMEWORKS[framework].title,
            *(f"{1000 * seconds:.0f} ms" for seconds in times),
            *(against([r[i] / r[0] for r in rounds]) for i in range(1, len(DEVICES))),
        ])  # fmt: skip
        print(*rows[-1])
    return (
        f"Milliseconds a step, {processor_name()}, {cpu_text()}, medians of {ROUNDS} "
        "rounds in which they take turns.\n\n" + readme.table(rows)
    )


def against(ratios):
    """The median of ratios, and their range, in words."""
    return f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


# On paper -----------------------------------------------------------------------------


def exchange(network, link, n):
    """Seconds in which n devices in a ring exchange the gradients of a step."""
    return 2 * (n - 1) / n * 4 * PARAMETERS[network] / LINKS[link]


def step(network, link, n, batch_size=BATCH_SIZE):
    """Seconds of a step on n devices, if nothing is sent while they compute."""
    return batch_size / n / RATE + exchange(network, link, n)


def on_paper():
    """The table of exchanges on four devices, as Markdown."""
    head = ["link", "bytes a second"]
    for network in PARAMETERS:
        head += [f"{network}: exchange", "images"]
    rows = [head]
    for link, rate in LINKS.items():
        row = [link, f"{rate / 1e9:g} GB/s"]
        for network in PARAMETERS:
            seconds = exchange(network, link, 4)
            images = seconds * (1 - SHARE) / SHARE * RATE
            row += [f"{seconds * 1000:.2f} ms", f"{images:,.0f}"]
        rows.append(row)
    return readme.table(rows)


def draw():
    """A step's time over the number of devices, as an SVG."""
    import matplotlib
    from matplotlib import pyplot as plt

    from d2l_utils.figures import label_ends, subplots

    counts = range(1, 33)
    fig, all_axes = subplots(1, 2, (9, 3.2), sharey=True)
    for axes, network in zip(all_axes, PARAMETERS):
        ideal = [1000 * BATCH_SIZE / n / RATE for n in counts]
        axes.loglog(counts, ideal, ":", color="gray", label="no exchange")
        for link in LINKS:
            times = [1000 * step(network, link, n) for n in counts]
            axes.loglog(counts, times, label=link)
        ticks = (1, 2, 4, 8, 16, 32)
        axes.set_xticks(ticks, map(str, ticks))
        heights = (0.5, 1, 2, 5, 10, 20)
        axes.set_yticks(heights, [f"{height:g}" for height in heights])
        axes.minorticks_off()
        axes.set(xlabel="devices", title=f"{network}, batches of {BATCH_SIZE}")
    for axes in all_axes:  # now that the limits, which they share, are known
        label_ends(axes, axes.get_lines())
    all_axes[0].set_ylabel("milliseconds a step")
    fig.tight_layout()
    drawn = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "d2l", "svg.fonttype": "none"}):
        fig.savefig(drawn, format="svg", metadata={"Date": None})
    plt.close(fig)
    lines = drawn.getvalue().splitlines()
    files.write(PLOT, "\n".join(map(str.rstrip, lines)) + "\n")


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--paper", action="store_true", help="measure nothing")
    parser.add_argument("--worker", choices=FRAMEWORKS, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.worker:
        worker(args.worker)
        return
    if not args.paper:
        readme.update(PAGE, "measured", measured())
    readme.update(PAGE, "on paper", on_paper())
    draw()


if __name__ == "__main__":
    sys.exit(main())
