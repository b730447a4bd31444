"""The report of the measurements: `python -m bench.report [--check]`.

From bench/results/*.json it makes the table in the README and, for every machine, a
page with plots beside its file. Nothing is measured here.
"""

import argparse
import base64
import html
import io
import json
import sys

from matplotlib import pyplot as plt

from bench.cases import FORMS, GOALS, NETWORKS
from bench.floors import CLASSES, FLOORS
from bench.run import RESULTS
from book.source import files, readme
from book.source.book import BOOK, ROOT
from d2l_utils.frameworks import FRAMEWORKS

TITLES = BOOK.titles()
MACS = {"NiN": 762_297_352, "GoogleNet": 276_066_304, "NiN28": 9_477_760}
DTYPES = ("float32", "bfloat16")
ROUNDS = (
    "Ratios: the median of rounds in which all take turns, and their range. All are "
    "alive at once; a rate is the median of its rounds."
)
FLOP_PER_MAC = 3 * 2  # forward and the two gradients; a product and a sum


def machines():
    """[(path, what it holds)] of all results, the fastest class of processors first."""
    found = [(p, json.loads(p.read_text("utf-8"))) for p in RESULTS.glob("*.json")]
    for _, results in found:  # older files name no class, and are of this one
        results.setdefault("class", "bfloat16")
    order = list(CLASSES)
    return sorted(found, key=lambda pair: (order.index(pair[1]["class"]), pair[0]))


def find(records, what, **wanted):
    """The records of a kind, in the order of the tabs and of image sizes."""
    found = [
        r
        for r in records
        if r["what"] == what and all(r.get(k) == v for k, v in wanted.items())
    ]
    order = (*FRAMEWORKS, None)
    return sorted(
        found, key=lambda r: (order.index(r.get("framework")), r.get("size", 0))
    )


def ratio(record, name):
    """A ratio with the range of its rounds, as text."""
    if f"ratio_{name}" not in record:
        return ""
    text = f"{record[f'ratio_{name}']:.2f}"
    low, high = record[f"spread_{name}"]
    return f"{text} ({low:.2f} to {high:.2f})"


def speed(rate):
    """Images a second, as text."""
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"


def tables(records):
    """[(title, head, rows)] of everything that was measured."""
    made = []
    for network, (_, size, _) in NETWORKS.items():
        rows = [
            [
                TITLES[r["framework"]],
                *(speed(r[who]) for who in ("ours", "d2l", "native")),
                ratio(r, "d2l"),
                ratio(r, "native"),
                ratio(r, "model_fit"),
            ]
            for r in find(records, "training", network=network)
        ]
        title = f"Training, {network} at {size} px, images/s"
        head = ["", "d2l_utils", "d2l 1.0.3", "plain loop"]
        head += ["against d2l", "against the loop", "against `model.fit`"]
        made.append((title, head, rows))
    rows = [
        [TITLES[r["framework"]], f"{r['ours']:,.0f}", *(ratio(r, x) for x in FORMS)]
        for r in find(records, "forms")
    ]
    head = ["", "the notebook's form, images/s", *(f"own `{x}`" for x in FORMS)]
    made.append(("Training, NiN at 224 px, with a method of one's own", head, rows))
    rows = [
        [
            f"{TITLES[r['framework']]}, {r['size']} px",
            f"{r['ours']:,.0f}",
            f"{r['d2l']:,.0f}",
            ratio(r, "data"),
            f"{(r['peak_bytes_ours'] - r['start_bytes_ours']) / 1e6:,.0f} MB",
        ]
        for r in find(records, "data")
    ]
    head = ["", "d2l_utils", "d2l 1.0.3", "ratio", "memory taken by ours"]
    made.append(("Data until the resized batch is there, images/s", head, rows))
    rows = [
        [TITLES[r["framework"]], *(f"{r[k]:.2f}" for k in ("alone", "ours", "above"))]
        for r in find(records, "import")
    ]
    head = ["", "framework alone", "with d2l_utils", "difference"]
    made.append(("Import, seconds", head, rows))
    rows = [
        [
            f"{TITLES[r['framework']]}, {r['network']}",
            *(f"{r[f'seconds_until_ready_{w}']:.1f}" for w in ("ours", "d2l")),
            *(f"{r[f'peak_bytes_{w}'] / 1e9:.2f}" for w in ("ours", "d2l", "native")),
            f"{r['ratio_bare']:.3f}",
        ]
        for r in find(records, "training")
        if "ratio_bare" in r
    ]
    head = ["", "s until trained once, ours", "d2l", "peak GB, ours", "d2l", "loop"]
    head.append("Trainer against its bare steps")
    made.append(("Start, memory, overhead", head, rows))
    rows = [
        [
            f"{TITLES[r['framework']]}, {n['batch_size']}, {n['images']:,}",
            *(f"{n[who]:,.0f}" for who in ("ours", "d2l")),
            *(f"{n[f'peak_bytes_{who}'] / 1e9:.2f}" for who in ("ours", "d2l")),
        ]
        for r in find(records, "growth")
        for n in r["over"]
    ]
    head = ["batch size, images", "images/s, ours", "d2l", "peak GB, ours", "d2l"]
    made.append(("NiN28 over batch size and number of images", head, rows))
    rows = []
    for r in find(records, "accuracy"):
        cells = [TITLES[r["framework"]]]
        for goal in GOALS:
            for who in ("ours", "d2l"):
                pairs = zip(r[f"seconds_{who}"], r[f"accuracies_{who}"])
                seconds = next((s for s, a in pairs if a >= goal), None)
                cells.append("not reached" if seconds is None else f"{seconds:.0f}")
        rows.append(cells)
    head = [""]
    for goal in GOALS:
        head += [f"to {goal:.2f}, ours", "d2l"]
    made.append(("NiN28, seconds to a validation accuracy, one run each", head, rows))
    rows = [
        [
            TITLES[r["framework"]],
            *(" ".join(f"{a[-1]:.3f}" for a in r[p]) for p in ("auto", "float32")),
            f"{r['difference']:+.4f}",
        ]
        for r in find(records, "precision")
    ]
    head = ["", "bfloat16, by seed", "float32", "mean difference"]
    epochs = [len(a) for r in find(records, "precision") for a in r["auto"]]
    title = f"NiN28, validation accuracy after {max(epochs, default=0)} epochs"
    made.append((title, head, rows))
    for r in find(records, "matrix product"):
        rows = []
        for t in find(records, "training"):
            flops = t["ours"] * MACS[t["network"]] * FLOP_PER_MAC / 1e9
            name = f"{TITLES[t['framework']]}, {t['network']}"
            share = [f"{flops / r[d]:.0%}" if d in r else "" for d in DTYPES]
            rows.append([name, f"{flops:,.0f}", *share])
        head = ["", "GFLOP/s"]
        for d in DTYPES:  # bfloat16 is measured only where there are units for it
            head.append(f"of {d} ({r[d]:,.0f})" if d in r else f"no {d} units")
        made.append(("Share of the rate of a 2048 x 2048 matrix product", head, rows))
    return [(title, head, rows) for title, head, rows in made if rows]


def readme_table():
    """What stands between the marks in the README: the machines of each class."""
    parts = []
    for kind, words in CLASSES.items():
        measured = [(p, r) for p, r in machines() if r["class"] == kind]
        if not measured and kind != "other":
            parts.append(f"On a processor {words}: not measured yet.")
        for path, results in measured:
            title, head, rows = tables(results["records"])[0]
            first = find(results["records"], "training", network=next(iter(NETWORKS)))
            date = max(r["date"] for r in first)
            parts.append(
                f"On a processor {words}: {results['processor']}, "
                f"{results['device']}, {date}. {title}, batches of 128. "
                f"{ROUNDS} "
                f"[More](bench/results/{path.stem}.html).\n\n"
                f"{readme.table([head, *rows])}"
            )
    return "\n\n".join(parts)


LABELS = {"d2l": "d2l 1.0.3", "native": "plain loop", "ours": "d2l_utils"}


def image(fig, caption):
    """A figure with its caption, in the page itself."""
    fig.tight_layout()
    buffer = io.BytesIO()
    fig.savefig(buffer, metadata={"Software": None})
    plt.close(fig)
    data = base64.b64encode(buffer.getvalue()).decode()
    img = f'<img alt="" src="data:image/png;base64,{data}">'
    return f"<figure>{img}<figcaption>{html.escape(caption)}</figcaption></figure>"


def rates(records):
    """Images/s of all contenders at the largest network."""
    found = find(records, "training", network="NiN")
    fig, ax = plt.subplots(figsize=(6, 2.8), dpi=90)
    for i, (who, label) in enumerate(LABELS.items()):
        x = [k + (i - 1) * 0.27 for k in range(len(found))]
        bars = ax.bar(x, [r[who] for r in found], 0.25, label=label)
        ax.bar_label(bars, fmt="%.0f", fontsize=8)
    ax.set_xticks(range(len(found)), [TITLES[r["framework"]] for r in found])
    ax.margins(y=0.1)  # room for the numbers
    ax.set_ylabel("images/s")
    ax.legend(frameon=False)
    return image(fig, "Training, NiN at 224 px")


def accuracies(records):
    """Validation accuracy of NiN28 over time, or nothing where it was not measured."""
    found = find(records, "accuracy")
    if not found:
        return ""
    size = {"figsize": (2.4 * len(found), 2.6), "dpi": 90}
    fig, axes = plt.subplots(1, len(found), sharey=True, squeeze=False, **size)
    for ax, r in zip(axes[0], found):
        for who, color in (("d2l", "C0"), ("ours", "C2")):  # as in the bars
            x, y = r[f"seconds_{who}"], r[f"accuracies_{who}"]
            ax.plot(x, y, ".-", color=color, label=LABELS[who])
        ax.set_title(TITLES[r["framework"]], fontsize="medium")
        ax.set_xlabel("seconds")
        ax.set_xlim(left=0)
    axes[0, 0].set_ylabel("validation accuracy")
    axes[0, -1].legend(frameon=False, loc="lower right")
    recipe = (
        f"lr {found[0]['lr']}, momentum 0.9, dropout {found[0]['settings']['dropout']}"
    )
    caption = (
        f"NiN28, both from the same first weights, {recipe}; "
        "seconds since the start of the process, a point after every epoch"
    )
    return image(fig, caption)


def page(results):
    """One self-contained page."""
    records = results["records"]
    body = []
    for title, head, rows in tables(records):
        cells = [[f"<td>{html.escape(c)}</td>" for c in row] for row in rows]
        heads = "".join(f"<th>{html.escape(c.replace('`', ''))}</th>" for c in head)
        lines = "\n".join(f"<tr>{''.join(row)}</tr>" for row in cells)
        body.append(f"<h2>{html.escape(title)}</h2>")
        body.append(f"<table><tr>{heads}</tr>\n{lines}</table>")
    floors = "; ".join(
        f"{name} {case}: " + ", ".join(f"{TITLES[f]} {v}" for f, v in limits.items())
        for (name, case), limits in FLOORS[results["class"]].items()
    )
    about = f"{results['processor']}, {results['device']}"
    dates = ", ".join(sorted({r["date"] for r in records}))
    style = (
        "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;"
        "padding:0 1rem}table{border-collapse:collapse;font-size:.9rem}"
        "td,th{padding:.2rem .8rem;border-bottom:1px solid #ccc;text-align:right}"
        "td:first-child{text-align:left}img{max-width:100%}"
        "figure{margin:1rem 0}figcaption{font-size:.9rem}"
    )
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Speed and memory: {html.escape(about)}</title><style>{style}</style>
<h1>Speed and memory</h1>
<p>{html.escape(about)}, a processor {CLASSES[results["class"]]}. Batches of 128,
Fashion-MNIST. {ROUNDS}
Rows were measured at different times ({dates}), and a machine is not always equally
fast: compare rates within a row. Made by <code>make bench</code>.</p>
{rates(records)}
{accuracies(records)}
{chr(10).join(body)}
<p>Floors for such processors: {html.escape(floors or "none")}.</p>
</html>
"""


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="change nothing")
    args = parser.parse_args(argv)
    stale = readme.update(ROOT / "README.md", "bench", readme_table(), args.check)
    if args.check and stale:
        sys.exit("The table in README.md is stale: run `python -m bench.report`")
    if args.check:
        return 0
    for results_path, results in machines():
        files.write(results_path.with_suffix(".html"), page(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
