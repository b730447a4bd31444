"""What the figures must reach, on two CPU cores."""

from d2l_utils.frameworks import FRAMEWORKS
from d2l_utils.host import cpu_has_bfloat16

FLOORS = {  # of ratios, on a CPU: (what, network or image size): {framework: floor}
    ("ratio_d2l", "NiN"): {
        "pytorch": 5.5, "tensorflow": 2.8, "jax": 3.0, "mxnet": 1.8,
    },
    ("ratio_native", "NiN"): {
        "pytorch": 4.0, "tensorflow": 1.8, "jax": 1.15, "mxnet": 1.5,
    },
    ("ratio_model_fit", "NiN"): {"tensorflow": 1.0},
    ("ratio_forward", "NiN"): dict.fromkeys(FRAMEWORKS, 0.95),
    ("ratio_loss", "NiN"): dict.fromkeys(FRAMEWORKS, 0.95),
    ("ratio_training_step", "NiN"): dict.fromkeys(FRAMEWORKS, 0.9),
    ("ratio_data", 224): {"pytorch": 5.0, "mxnet": 5.0, "tensorflow": 5.0},
}  # fmt: skip
# These were set for training in bfloat16; float32 does not reach them.
NEED_BFLOAT16 = {
    (name, framework)
    for name in ("ratio_d2l", "ratio_native")
    for framework in ("pytorch", "tensorflow")
}
MOST_IMPORT_SECONDS = 0.3  # above the framework's own
MOST_LOADER_BYTES = 300e6  # at 224 px
MOST_ACCURACY_LOST = 0.005  # to bfloat16
MOST_OVERHEAD = 0.02  # of the Trainer over its own steps


def missed(records):
    """A line for every floor that a record misses.

    Floors that only bfloat16 reaches are left out on a processor without units for it.
    """
    lines = []
    left_out = set() if cpu_has_bfloat16() else NEED_BFLOAT16
    for r in records:
        framework = r.get("framework")
        for (name, case), floors in FLOORS.items():
            if r.get("network", r.get("size")) != case or name not in r:
                continue
            floor = floors.get(framework, 0)
            if r[name] < floor and (name, framework) not in left_out:
                lines.append(f"{framework}: {name} {r[name]:.2f} < {floor}")
        if r["what"] == "precision" and r["difference"] < -MOST_ACCURACY_LOST:
            lines.append(f"{framework}: bfloat16 costs {-r['difference']:.4f} accuracy")
        if r["what"] == "data":
            taken = r["peak_bytes_ours"] - r["start_bytes_ours"]
            if taken > MOST_LOADER_BYTES:
                lines.append(f"{framework}: loading takes {taken / 1e6:.0f} MB")
        if r["what"] == "import" and r["above"] > MOST_IMPORT_SECONDS:
            lines.append(f"{framework}: import {r['above']:.2f} s above the framework")
        if r["what"] == "training" and r["ratio_bare"] < 1 - MOST_OVERHEAD:
            lines.append(f"{framework}: Trainer at {r['ratio_bare']:.3f} of its steps")
    return lines
