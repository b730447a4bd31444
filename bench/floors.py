"""What the figures must reach, on two CPU cores, by the class of the processor.

`python -m bench.floors` says of which class this one is.
"""

from d2l_utils.frameworks import FRAMEWORKS
from d2l_utils.host import cpu_flags, cpu_has_bfloat16, processor_name

CLASSES = {  # of processors, the fastest first, and how they are called
    "bfloat16": "with fast units for bfloat16",
    "avx512": "with AVX-512, without fast units for bfloat16",
    "avx2": "with AVX2, without AVX-512",
    "other": "of another kind",  # no floors: nobody has measured what these can do
}
# Of ratios: (what, network or image size): {framework: floor}.
ANYWHERE = {
    ("ratio_model_fit", "NiN"): {"tensorflow": 1.0},
    ("ratio_forward", "NiN"): dict.fromkeys(FRAMEWORKS, 0.95),
    ("ratio_loss", "NiN"): dict.fromkeys(FRAMEWORKS, 0.95),
    ("ratio_training_step", "NiN"): dict.fromkeys(FRAMEWORKS, 0.9),
    ("ratio_data", 224): {"pytorch": 5.0, "mxnet": 5.0, "tensorflow": 5.0},
}  # fmt: skip
# Without bfloat16, ours trains in float32, as the others do. These floors are a little
# below what was first measured with AVX2, on a Zen 3 of 170 GFLOP/s in a product of
# float32 matrices. On an EPYC with AVX2 and 134 GFLOP/s two were missed: PyTorch and
# MXNet trained at 1.65 and 2.24 times d2l's rate. With AVX-512, where JAX is not
# measured yet, one was: TensorFlow trained at 0.98 of its plain loop's rate, and the
# rounds' range includes 1.
FLOAT32 = {
    ("ratio_d2l", "NiN"): {
        "pytorch": 2.0, "tensorflow": 1.4, "jax": 1.8, "mxnet": 2.8,
    },
    ("ratio_native", "NiN"): {
        "pytorch": 1.4, "tensorflow": 1.0, "jax": 1.15, "mxnet": 1.5,
    },
}  # fmt: skip
FLOORS = {
    "bfloat16": {
        ("ratio_d2l", "NiN"): {
            "pytorch": 5.5, "tensorflow": 2.8, "jax": 3.0, "mxnet": 1.8,
        },
        ("ratio_native", "NiN"): {
            "pytorch": 4.0, "tensorflow": 1.8, "jax": 1.15, "mxnet": 1.5,
        },
        **ANYWHERE,
    },
    "avx512": FLOAT32 | ANYWHERE,
    "avx2": FLOAT32 | ANYWHERE,
    "other": {},
}  # fmt: skip
MOST_IMPORT_SECONDS = 0.3  # above the framework's own
MOST_LOADER_BYTES = 300e6  # at 224 px
MOST_ACCURACY_LOST = 0.005  # to bfloat16
MOST_OVERHEAD = 0.02  # of the Trainer over its own steps


def processor_class():
    """The class of this processor; 'other' where the system does not tell its features.

    Only Linux on x86 does, see `cpu_flags`.
    """
    if cpu_has_bfloat16():
        return "bfloat16"
    there = cpu_flags()
    flags = {"avx512": "avx512f", "avx2": "avx2"}
    return next((name for name, flag in flags.items() if flag in there), "other")


def missed(records, kind):
    """A line for every floor that a record misses; kind: the processor's class."""
    lines = []
    for r in records if kind != "other" else ():
        framework = r.get("framework")
        for (name, case), floors in FLOORS[kind].items():
            if r.get("network", r.get("size")) != case or name not in r:
                continue
            floor = floors.get(framework, 0)
            if r[name] < floor:
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


if __name__ == "__main__":
    print(f"{processor_name()}: a processor {CLASSES[processor_class()]}")
