"""The benchmarks' own logic: ratios, floors, the report. Nothing is measured."""

import json
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from bench import cases, contender, floors, report, run, several
from bench.environments import PACKAGES
from book.source import readme
from d2l_utils import host
from d2l_utils.frameworks import FRAMEWORKS
from d2l_utils.study import RESULTS

WITHOUT, WITH = {"avx2", "fma"}, {"avx2", "fma", "avx512_bf16"}  # units for bfloat16


@pytest.fixture(autouse=True)
def flags(monkeypatch):
    """The processor's flags, as a test needs them; at first one with the units."""
    had = set(WITH)
    monkeypatch.setattr(host, "cpu_flags", lambda: had)
    return had


def training(framework="pytorch", **kwargs):
    record = {
        "what": "training", "network": "NiN", "framework": framework, "size": 224,
        "ours": 100.0, "d2l": 10.0, "native": 20.0, "ratio_bare": 1.0,
        "date": "2020-01-01",
    }  # fmt: skip
    for name, ratio in (("d2l", 10.0), ("native", 5.0)):
        record |= {f"ratio_{name}": ratio, f"spread_{name}": [ratio - 1, ratio + 1]}
    for who in ("ours", "d2l", "native"):
        record |= {f"seconds_until_ready_{who}": 3.0, f"peak_bytes_{who}": 1e9}
    return record | kwargs


def forms(framework="pytorch", **ratios):
    ratios = {f"ratio_{form}": 1.0 for form in cases.FORMS} | ratios
    return {"what": "forms", "network": "NiN", "framework": framework, **ratios}


def test_a_ratio_is_taken_within_each_round():
    """A machine that slows down for all changes no ratio."""
    record = {}
    cases.put_ratio(record, "x", [10.0, 5.0, 40.0], [5.0, 2.5, 10.0])
    assert record == {"ratio_x": 2.0, "spread_x": [2.0, 4.0]}


def test_turns():
    told = []

    class Fake:
        def __init__(self, who):
            self.who = who

        def rate(self):
            told.append(self.who)
            return len(told)

    rates = cases.take_turns([Fake("ours"), Fake("d2l")], 2)
    assert told == ["ours", "d2l"] * 2
    assert rates == {"ours": [1, 3], "d2l": [2, 4]}


@pytest.mark.parametrize(
    "record, words",
    [
        (training(), None),
        (training(ratio_d2l=5.4), "pytorch: ratio_d2l 5.40 < 5.5"),
        (training("jax", ratio_native=1.1), "jax: ratio_native 1.10 < 1.15"),
        (training("tensorflow", ratio_model_fit=0.9), "ratio_model_fit 0.90 < 1.0"),
        (training(network="NiN28", ratio_d2l=1.0), None),
        (training(ratio_bare=0.97), "0.970 of its steps"),
        (forms("jax", ratio_forward=0.94), "jax: ratio_forward 0.94 < 0.95"),
        (forms("mxnet", ratio_loss=0.94), "mxnet: ratio_loss 0.94 < 0.95"),
        (forms(ratio_training_step=0.91), None),
        (forms(ratio_training_step=0.89), "ratio_training_step 0.89 < 0.9"),
        ({"what": "import", "framework": "jax", "above": 0.31}, "0.31 s above"),
        ({"what": "import", "framework": "jax", "above": 0.29}, None),
        (
            {"what": "precision", "framework": "mxnet", "difference": -0.006},
            "bfloat16 costs 0.0060",
        ),
        ({"what": "precision", "framework": "mxnet", "difference": 0.01}, None),
    ],
)
def test_floors(record, words):
    lines = floors.missed([{"what": "matrix product"}, record], "bfloat16")
    assert len(lines) == (words is not None)
    assert words is None or words in lines[0]


@pytest.mark.parametrize("there, kind", [
    (WITH, "bfloat16"), ({"avx2", "amx_bf16"}, "bfloat16"), ({"avx2"}, "avx2"),
    ({"avx2", "avx512f"}, "avx512"),
    ({"avx512_bf16", "avx512f", "GenuineIntel"}, "avx512"),
    ({"avx512_bf16", "avx512f", "AuthenticAMD"}, "bfloat16"),
    ({"amx_bf16", "avx512_bf16", "avx512f", "GenuineIntel"}, "bfloat16"),
    ({"sse4_2"}, "other"), (set(), "other"),
])  # fmt: skip
def test_the_class_of_a_processor(monkeypatch, there, kind):
    """No flags at all are told on Windows, macOS and Arm."""
    for module in (host, floors):
        monkeypatch.setattr(module, "cpu_flags", lambda: there)
    assert floors.processor_class() == kind and kind in floors.CLASSES


@pytest.mark.parametrize("kind, missed", [
    ("bfloat16", 7), ("avx512", 3), ("avx2", 3), ("other", 0),
])  # fmt: skip
def test_floors_by_class(kind, missed):
    """Ratios that AVX2 reached in all but one; without a class, nothing is asked."""
    records = [training(f, ratio_d2l=2.5, ratio_native=1.6) for f in FRAMEWORKS]
    records.append(forms("jax", ratio_loss=0.5))
    records.append({"what": "import", "framework": "jax", "above": 9.9})
    assert len(floors.missed(records, kind)) == missed


# A quick run ----------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch, tmp_path, flags):
    """Runs `bench.run --quick` on made-up cases, by their functions' names."""
    monkeypatch.setattr(run, "load_fashion_mnist", lambda: SimpleNamespace(is_sample=0))
    monkeypatch.setattr(run.environments, "python_of", lambda framework: None)
    monkeypatch.setattr(cases, "BUILD", tmp_path)
    monkeypatch.setattr(cases, "CLOCK", cases.Clock())
    monkeypatch.setattr(run, "SHARES", {})

    def start(rate=100.0, **made):
        monkeypatch.setattr(cases, "matrix_product_rate", lambda: {"float32": rate})
        for name in ("training_case", "data_case", "import_case"):
            given = made.get(name, lambda framework, *_: {"what": "none"})

            def case(*args, given=given):
                return given(*args)

            case.__name__ = name
            monkeypatch.setattr(cases, name, case)
        return run.main(["--quick"])

    return start


def test_a_quick_run_measures_the_trainings_first(quick, capsys):
    asked = []

    def training_case(framework, *rest):
        asked.append((framework, *rest))
        return training(framework, ratio_native=1.0 if framework == "jax" else 5.0)

    assert quick(training_case=training_case) == 1
    assert asked == [(f, "NiN", 2, 128) for f in FRAMEWORKS]
    said = capsys.readouterr().out.splitlines()
    kinds = [json.loads(line)["what"] for line in said[1:-2]]
    assert kinds == 4 * ["training"] + 8 * ["none"]
    assert said[-2].endswith(floors.CLASSES["bfloat16"])
    assert said[-1] == "MISSED jax: ratio_native 1.00 < 1.15"


@pytest.mark.parametrize("rate, images", [(170, 128), (99, 32), (24, 8), (0.1, 8)])
def test_a_slow_processor_gets_small_batches(quick, rate, images):
    asked = []
    quick(rate, training_case=lambda *given: asked.append(given[-1]) or training())
    assert asked == 4 * [images]


def test_what_a_quick_run_has_no_time_for_is_named(quick, monkeypatch, capsys):
    """The first case takes all of it: no other is begun."""
    monkeypatch.setattr(cases, "QUICK_SECONDS", 0.2)
    command = [sys.executable, "-c", "import time; time.sleep(60)"]

    def endless(framework, *_):
        return subprocess.run(command, timeout=cases.CLOCK.left())

    start = time.monotonic()
    assert quick(training_case=endless, data_case=endless, import_case=endless) == 0
    assert time.monotonic() - start < 30
    said = capsys.readouterr().out
    assert said.count("NOT MEASURED") == 12
    assert "NOT MEASURED training_case jax NiN 2 128" in said


def test_a_contender_is_ended_when_the_time_is_over(monkeypatch, tmp_path):
    """Also one that never answers."""
    monkeypatch.setattr(cases, "BUILD", tmp_path)
    monkeypatch.setattr(cases, "stored_arrays", lambda part, n: [])
    monkeypatch.setattr(cases, "CLOCK", cases.Clock())
    # Reading the models would load Jupytext, which asks for pandoc by Popen.
    monkeypatch.setattr(cases, "stored_models", lambda *names: tmp_path)
    popen = subprocess.Popen
    endless = [sys.executable, "-c", "import time; time.sleep(60)"]
    monkeypatch.setattr(
        cases.subprocess, "Popen", lambda command, **given: popen(endless, **given)
    )
    cases.CLOCK.end = time.monotonic() + 0.2
    with pytest.raises(cases.OutOfTime):
        cases.Contender("jax", "ours", "training", "NiN", 224, 8)
    assert time.monotonic() - cases.CLOCK.end < 30


def test_rounds_end_where_another_would_take_too_long(monkeypatch):
    """Of 3 s each: three within 10 s, one within 2, all without a limit."""
    now = [100.0]
    monkeypatch.setattr(cases.time, "monotonic", lambda: now[0])
    clock = cases.Clock()

    def rounds(seconds):
        clock.case, done = now[0] + seconds, 0
        for _ in clock.rounds(9):
            now[0] += 3
            done += 1
        return done

    assert [rounds(s) for s in (10, 2, float("inf"))] == [3, 1, 9]


@pytest.mark.parametrize(
    "ratio, taken, missed", [(5.1, 299e6, 0), (4.9, 299e6, 1), (5.1, 301e6, 1)]
)
def test_floors_of_data(ratio, taken, missed):
    record = {"what": "data", "framework": "mxnet", "size": 224, "ratio_data": ratio}
    record |= {"start_bytes_ours": 1e9, "peak_bytes_ours": 1e9 + taken}
    assert len(floors.missed([record], "avx2")) == missed


def test_the_report(tmp_path, monkeypatch):
    records = [training(f) for f in reversed(FRAMEWORKS)]
    records.append({"what": "matrix product", "float32": 100.0, "bfloat16": 300.0})
    records = [{**r, "date": "2026-01-02"} for r in records]
    results = {"processor": "A <b>", "device": "cpu (2 threads)", "records": records}
    results["class"] = "bfloat16"
    (tmp_path / "a-2.json").write_text(json.dumps(results))
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    table = report.readme_table()
    assert table.startswith("On a processor with fast units for bfloat16: A <b>, cpu")
    assert "with AVX2, without AVX-512: not measured yet" in table
    rows = [line for line in table.splitlines() if line.startswith("|")][2:]
    titles = ["PyTorch", "MXNet", "TensorFlow", "JAX"]
    assert [row.split("|")[1].strip() for row in rows] == titles
    assert "10.00 (9.00 to 11.00)" in rows[0]
    page = report.page(results)
    assert "<b>" not in page.replace("<body>", "") and 'src="http' not in page
    assert "(2026-01-02)" in page  # once, though there are five records
    assert page.count("<table>") == 3  # training; start and memory; share of the rate


def test_a_stale_report_fails_the_check(tmp_path, monkeypatch):
    """And is left as it is; `python -m bench.report` brings it up to date."""
    text = "<!-- bench: made by hand -->\nold\n<!-- end of bench -->\n"
    (tmp_path / "README.md").write_text(text)
    monkeypatch.setattr(report, "ROOT", tmp_path)
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    with pytest.raises(SystemExit, match="is stale: run"):
        report.main(["--check"])
    assert (tmp_path / "README.md").read_text() == text
    assert report.main([]) == 0 == report.main(["--check"])


def test_the_fastest_class_of_processors_is_first(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    about = {"device": "cpu", "records": [training()]}
    for name, kind in {"a": "avx2", "b": "bfloat16"}.items():
        made = {**about, "class": kind, "processor": name}
        (tmp_path / f"{name}.json").write_text(json.dumps(made))
    parts = report.readme_table().split("On a processor ")[1:]
    assert [p.split(":")[0] for p in parts] == list(floors.CLASSES.values())[:3]
    assert "not measured yet" in parts[1]
    for part in (parts[0], parts[2]):
        assert "rounds" in part and "10.00 (9.00 to 11.00)" in part


def test_rows_follow_tabs_and_sizes():
    given = [("jax", 28), ("pytorch", 224), ("pytorch", 28), ("pytorch", 96)]
    records = [{"what": "data", "framework": f, "size": s} for f, s in given]
    found = [(r["framework"], r["size"]) for r in report.find(records, "data")]
    assert found == [("pytorch", 28), ("pytorch", 96), ("pytorch", 224), ("jax", 28)]


def accuracy(framework="pytorch"):
    return {
        "what": "accuracy", "network": "NiN28", "framework": framework,
        "lr": 0.01, "settings": {"dropout": 0.3}, "date": "2026-01-02",
        "seconds_ours": [9.0, 12.0], "accuracies_ours": [0.79, 0.86],
        "seconds_d2l": [20.0, 30.0], "accuracies_d2l": [0.81, 0.79],
    }  # fmt: skip


def test_seconds_to_an_accuracy():
    title, head, rows = report.tables([accuracy()])[-1]
    assert title.startswith("NiN28, seconds") and len(head) == len(rows[0])
    assert rows == [["PyTorch", "12", "20", "12", "not reached"]]


def test_the_epochs_of_a_comparison_are_those_it_ran():
    record = {"what": "precision", "framework": "pytorch", "difference": 0.01}
    record |= {"auto": [[0.5, 0.8], [0.6, 0.7]], "float32": [[0.5, 0.7], [0.6, 0.78]]}
    title, head, rows = report.tables([record])[-1]
    assert title.endswith("after 2 epochs") and len(head) == len(rows[0])
    assert rows == [["PyTorch", "0.800 0.700", "0.700 0.780", "+0.0100"]]


def test_both_contenders_train_until_the_goal(monkeypatch):
    """Rounds of 2 s; ours is ready after 5 s and there in its second epoch."""
    course = {"ours": [0.7, 0.86, 0.9], "d2l": [0.5, 0.81, 0.82]}

    class Fake:
        ready = 5.0

        def __init__(self, framework, who, *_):
            self.who, self.left = who, list(course[who])

        def tell(self, what):
            return {"seconds": 2.0, "result": self.left.pop(0)}

        def stop(self):
            pass

    monkeypatch.setattr(cases, "Contender", Fake)
    monkeypatch.setattr(cases, "MOST_EPOCHS", 3)
    record = cases.accuracy_case("pytorch")
    assert record["seconds_ours"] == [7.0, 9.0]
    assert record["accuracies_ours"] == [0.7, 0.86]
    assert record["seconds_d2l"] == [7.0, 9.0, 11.0]
    assert record["accuracies_d2l"] == course["d2l"]


def test_first_weights_depend_on_seed_and_shape_alone():
    """He's variance is 2 / (height x width x input channels)."""
    shape = (3, 5, 16, 200)
    weights = contender.he_weights(1, shape)
    assert weights.shape == shape and abs(weights.mean()) < 0.001
    assert weights.var() == pytest.approx(2 / (3 * 5 * 16), rel=0.02)
    assert (weights == contender.he_weights(1, shape)).all()
    assert (weights != contender.he_weights(4, shape)).any()


def test_a_page_shows_accuracies_once_they_are_measured():
    record = training()
    results = {"processor": "A", "device": "cpu", "records": [record]}
    results["class"] = "other"
    assert report.page(results).count("<img") == 1
    results["records"] = [record, accuracy(), accuracy("jax")]
    page = report.page(results)
    assert page.count("<img") == 2 and "lr 0.01, momentum 0.9, dropout 0.3" in page
    assert "(2020-01-01, 2026-01-02)" in page


def test_the_share_of_the_machine():
    """4.57 GFLOP an image, forward and backward, at 100 images/s."""
    records = [training(), {"what": "matrix product", "float32": 500, "bfloat16": 915}]
    title, _, rows = report.tables(records)[-1]
    assert title.startswith("Share") and rows == [["PyTorch, NiN", "457", "91%", "50%"]]


def test_bfloat16_is_multiplied_only_where_there_are_units(flags, monkeypatch):
    """Without them one product takes half a minute."""

    def products(command, **_):
        rates = dict.fromkeys(command[3:], 100.0)
        return SimpleNamespace(stdout=json.dumps(rates))

    monkeypatch.setattr(cases.subprocess, "run", products)
    record = {"what": "matrix product", "float32": 100.0}
    assert cases.matrix_product_rate() == {**record, "bfloat16": 100.0}
    flags.intersection_update(WITHOUT)
    assert cases.matrix_product_rate() == record
    _, head, rows = report.tables([training(), record])[-1]
    assert head[2:] == ["of float32 (100)", "no bfloat16 units"]
    assert rows == [["PyTorch, NiN", "457", "457%", ""]]


def test_models_of_the_textbooks_package(tmp_path, monkeypatch):
    """The same cells, but for the package that they import."""
    monkeypatch.setattr(cases, "BUILD", tmp_path)
    for framework in FRAMEWORKS:
        ours, theirs = (
            cases.stored_models(framework, x).read_text() for x in (False, True)
        )
        assert "class GoogleNet" in ours and "class NiN28" in ours
        assert "d2l_utils" in ours and "from d2l_utils" not in theirs
        assert ours.splitlines()[-40:] == theirs.splitlines()[-40:]


def test_only_a_loop_by_hand_in_mxnet_keeps_the_default_threads(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(8)))
    given = {
        (f, who): cases.environ_of(f, who)
        for f in FRAMEWORKS
        for who in ("ours", "d2l", "native")
    }
    assert given.pop(("mxnet", "native")) == {"MXNET_OMP_MAX_THREADS": "4"}
    assert not any(given.values())


def test_every_framework_has_an_environment_with_exact_versions():
    assert set(PACKAGES) == set(FRAMEWORKS)
    for packages in PACKAGES.values():
        assert all("==" in package for package in packages)


# Several devices ----------------------------------------------------------------------


def test_what_an_exchange_takes():
    """By hand: four devices pass on 1.5 times 8 MB, at 25 GB/s; one passes on none."""
    seconds = several.exchange("NiN", "PCIe 4.0 x16", 4)
    assert seconds == pytest.approx(1.5 * 4 * 1_992_166 / 25e9)
    assert several.step("NiN", "PCIe 4.0 x16", 1) == pytest.approx(128 / 10_000)
    assert several.step("NiN", "PCIe 4.0 x16", 4) == pytest.approx(0.0032 + seconds)


def test_the_page_has_the_table_on_paper():
    assert not readme.update(several.PAGE, "on paper", several.on_paper(), check=True)
    record = json.loads(next(RESULTS.glob("textbook_nin224_*.json")).read_text("utf-8"))
    assert several.PARAMETERS["NiN"] == record["network"]["params"]
