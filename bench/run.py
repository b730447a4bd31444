"""Measure ours against d2l 1.0.3 and a plain loop: `python -m bench.run [--quick]`.

All contenders of a case are alive at once, each in its process, and take turns:
round 1 of each, round 2 of each, and so on, so that whatever else the machine does
meets all of them. A ratio is the median of the ratios within a round. Results go to
bench/results/<machine>.json, one record a case; exits non-zero where a floor is
missed. --quick ends within 10 minutes on any machine: what it had no time for is named.
"""

import argparse
import json
import subprocess
import sys
import time

from bench import cases, environments
from bench.floors import CLASSES, missed, processor_class
from book.source import files
from book.source.book import ROOT
from d2l_utils.frameworks import FRAMEWORKS
from d2l_utils.host import cpu_text, processor_name
from d2l_utils.sources import load_fashion_mnist
from study.run import paused

RESULTS = ROOT / "bench" / "results"
SHARES = {cases.training_case: 6, cases.data_case: 2}  # of the time; others 1


def chosen(framework, quick, images=None):
    """[(what measures, its arguments after the framework)] of a framework's cases.

    A quick run has few, the most telling first; images: of a round in it.
    """
    rounds = cases.QUICK_ROUNDS
    if quick:
        return [
            (cases.training_case, "NiN", rounds, images),
            (cases.data_case, 224, rounds, cases.QUICK_DATA_IMAGES),
            (cases.import_case, 1),
        ]
    rounds = cases.ROUNDS
    found = [(cases.import_case, rounds)]
    found += [(cases.data_case, size, rounds) for size in cases.DATA_SIZES]
    found += [(cases.training_case, name, rounds) for name in cases.NETWORKS]
    found.append((cases.forms_case, rounds))
    if cases.in_bfloat16(framework):
        found.append((cases.precision_case,))
    return [*found, (cases.growth_case,), (cases.accuracy_case,)]


def quick_measures(frameworks):
    """The cases of a quick run, all frameworks' first ones first; starts the clock."""
    for framework in frameworks:
        environments.python_of(framework)  # which may take long, once
    cases.CLOCK.end = time.monotonic() + cases.QUICK_SECONDS
    rate = cases.matrix_product_rate()["float32"]
    images = next(n for least, n in cases.QUICK_IMAGES.items() if rate >= least)
    print(f"{rate:.0f} GFLOP/s in float32: batches of {images} images", flush=True)
    turns = zip(*(chosen(framework, True, images) for framework in frameworks))
    return [(m, f, *rest) for turn in turns for f, (m, *rest) in zip(frameworks, turn)]


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="NiN and data at 224 px")
    parser.add_argument("--framework", choices=FRAMEWORKS)
    parser.add_argument(
        "--only", help="cases with this in name and arguments: 'data_case mxnet 224'"
    )
    args = parser.parse_args(argv)
    if load_fashion_mnist().is_sample:
        sys.exit(
            "Only the sample of Fashion-MNIST is here: benchmarks need the full data."
        )
    cases.BUILD.mkdir(parents=True, exist_ok=True)
    frameworks = [args.framework] if args.framework else list(FRAMEWORKS)
    if args.quick:
        measures = quick_measures(frameworks)
    else:
        measures = [(cases.matrix_product_rate,)]
        for framework in frameworks:
            for measure, *rest in chosen(framework, False):
                measures.append((measure, framework, *rest))
    named = [(" ".join([m.__name__, *map(str, r)]), m, r) for m, *r in measures]
    named = [case for case in named if (args.only or "") in case[0]]
    if not named:
        parser.error(f"no case has {args.only!r} in its name and arguments")
    records = []
    for i, (case, measure, rest) in enumerate(named):
        share = SHARES.get(measure, 1) / sum(SHARES.get(m, 1) for _, m, _ in named[i:])
        now = time.monotonic()
        cases.CLOCK.case = now + (cases.CLOCK.end - now) * share
        try:
            with paused():  # the study may be at work on this machine
                records.append(measure(*rest))
        except (cases.OutOfTime, subprocess.TimeoutExpired):
            print(f"NOT MEASURED {case}: there was no time left", flush=True)
            continue
        print(json.dumps(records[-1]), flush=True)
        if not args.quick:
            store(records[-1])
    kind = processor_class()
    print(f"{processor_name()}: a processor {CLASSES[kind]}")
    lines = missed(records, kind)
    met = "There are no floors for it." if kind == "other" else "All floors are met."
    print("\n".join(f"MISSED {line}" for line in lines) or met)
    return int(bool(lines))


KEY = ("what", "framework", "network", "size")  # of a record


def store(record):
    """Put a record into the results of this machine, in place of an older one."""
    path = RESULTS / f"{machine_name()}.json"
    kept = json.loads(path.read_text("utf-8"))["records"] if path.exists() else []
    kept = [r for r in kept if any(r.get(k) != record.get(k) for k in KEY)]
    record = {**record, "date": time.strftime("%Y-%m-%d")}
    machine = {"processor": processor_name(), "device": cpu_text()}
    machine["class"] = processor_class()
    records = sorted([*kept, record], key=lambda r: [str(r.get(k)) for k in KEY])
    files.write(path, json.dumps({**machine, "records": records}, indent=1) + "\n")


def machine_name():
    """Processor, threads and class, fit for a file's name.

    The class, since a virtual machine may hide some of a processor's units.
    """
    words = "".join(c if c.isalnum() else " " for c in processor_name()).lower().split()
    return "-".join([*words, *cpu_text().strip("cpu ()").split(), processor_class()])


if __name__ == "__main__":
    sys.exit(main())
