"""Measure ours against d2l 1.0.3 and a plain loop: `python -m bench.run [--quick]`.

All contenders of a case are alive at once, each in its process, and take turns:
round 1 of each, round 2 of each, and so on, so that whatever else the machine does
meets all of them. A ratio is the median of the ratios within a round. Results go to
bench/results/<machine>.json, one record a case; exits non-zero where a floor is
missed.
"""

import argparse
import json
import sys
import time

from bench import cases
from bench.floors import NEED_BFLOAT16, missed
from book.source import files
from book.source.book import ROOT
from d2l_utils.frameworks import FRAMEWORKS
from d2l_utils.host import cpu_has_bfloat16, cpu_text, processor_name
from d2l_utils.sources import load_fashion_mnist

RESULTS = ROOT / "bench" / "results"


def chosen(framework, quick):
    """[(what measures, its arguments after the framework)] in order."""
    if quick:
        rounds, images = cases.QUICK_ROUNDS, cases.QUICK_IMAGES
        return [
            (cases.import_case, rounds),
            (cases.data_case, 224, rounds),
            (cases.training_case, "NiN", rounds, images),
        ]
    rounds = cases.ROUNDS
    found = [(cases.import_case, rounds)]
    found += [(cases.data_case, size, rounds) for size in cases.DATA_SIZES]
    found += [(cases.training_case, name, rounds) for name in cases.NETWORKS]
    found.append((cases.forms_case, rounds))
    if cases.in_bfloat16(framework):
        found.append((cases.precision_case,))
    return [*found, (cases.growth_case,), (cases.accuracy_case,)]


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="NiN and data at 224 px")
    parser.add_argument("--framework", choices=FRAMEWORKS)
    parser.add_argument(
        "--only", help="cases with this in name and arguments: 'data_case mxnet 224'"
    )
    args = parser.parse_args(argv)
    if load_fashion_mnist().is_sample:
        sys.exit("Only the sample is at hand: benchmarks need the full data.")
    cases.BUILD.mkdir(parents=True, exist_ok=True)
    measures = [(cases.matrix_product_rate,)]
    for framework in [args.framework] if args.framework else FRAMEWORKS:
        for measure, *rest in chosen(framework, args.quick):
            measures.append((measure, framework, *rest))
    records = []
    for measure, *rest in measures:
        case = " ".join([measure.__name__, *map(str, rest)])
        if args.only and args.only not in case:
            continue
        records.append(measure(*rest))
        print(json.dumps(records[-1]), flush=True)
        if not args.quick:
            store(records[-1])
    if not records:
        parser.error(f"no case has {args.only!r} in its name and arguments")
    lines = missed(records)
    if not cpu_has_bfloat16():
        names = ", ".join(f"{f} {name}" for name, f in sorted(NEED_BFLOAT16))
        print(f"No bfloat16 units here, so these floors are not applied: {names}.")
    print("\n".join(f"MISSED {line}" for line in lines) or "All floors are met.")
    return int(bool(lines))


KEY = ("what", "framework", "network", "size")  # of a record


def store(record):
    """Put a record into the results of this machine, in place of an older one."""
    path = RESULTS / f"{machine_name()}.json"
    kept = json.loads(path.read_text())["records"] if path.exists() else []
    kept = [r for r in kept if any(r.get(k) != record.get(k) for k in KEY)]
    record = {**record, "date": time.strftime("%Y-%m-%d")}
    machine = {"processor": processor_name(), "device": cpu_text()}
    records = sorted([*kept, record], key=lambda r: [str(r.get(k)) for k in KEY])
    files.write(path, json.dumps({**machine, "records": records}, indent=1) + "\n")


def machine_name():
    """Processor and number of cores, fit for a file's name."""
    words = "".join(c if c.isalnum() else " " for c in processor_name()).lower().split()
    return "-".join([*words, *cpu_text().strip("cpu ()").split()])


if __name__ == "__main__":
    sys.exit(main())
