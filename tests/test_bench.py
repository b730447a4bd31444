"""The benchmarks' own logic: ratios, floors, the report. Nothing is measured."""

import json
from types import SimpleNamespace

import pytest

from bench import cases, contender, floors, report, run
from bench.environments import PACKAGES
from d2l_utils import host
from d2l_utils.frameworks import FRAMEWORKS

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
    lines = floors.missed([{"what": "matrix product"}, record])
    assert len(lines) == (words is not None)
    assert words is None or words in lines[0]


def test_floors_that_only_bfloat16_reaches(flags, monkeypatch, capsys, tmp_path):
    """Without the units only JAX's and MXNet's, and it is said which are left out."""
    slow = [training(f, ratio_d2l=0.9, ratio_native=0.9) for f in FRAMEWORKS]
    monkeypatch.setattr(run, "chosen", lambda framework, quick: [(slow_case,)])
    monkeypatch.setattr(cases, "matrix_product_rate", lambda: {"what": "none"})
    monkeypatch.setattr(cases, "BUILD", tmp_path)
    there = SimpleNamespace(is_sample=False)
    monkeypatch.setattr(run, "load_fashion_mnist", lambda: there)

    def slow_case(framework):
        return next(r for r in slow if r["framework"] == framework)

    assert run.main(["--quick"]) == 1
    printed = capsys.readouterr().out
    assert printed.count("MISSED") == 8 and "not applied" not in printed
    flags.intersection_update(WITHOUT)
    assert run.main(["--quick"]) == 1
    printed = capsys.readouterr().out
    missed = [x.split()[1] for x in printed.splitlines() if x.startswith("MISSED")]
    assert missed == ["mxnet:", "mxnet:", "jax:", "jax:"]
    assert "not applied: pytorch ratio_d2l, tensorflow ratio_d2l, pytorch" in printed


@pytest.mark.parametrize(
    "ratio, taken, missed", [(5.1, 299e6, 0), (4.9, 299e6, 1), (5.1, 301e6, 1)]
)
def test_floors_of_data(ratio, taken, missed):
    record = {"what": "data", "framework": "mxnet", "size": 224, "ratio_data": ratio}
    record |= {"start_bytes_ours": 1e9, "peak_bytes_ours": 1e9 + taken}
    assert len(floors.missed([record])) == missed


def test_the_report(tmp_path, monkeypatch):
    records = [training(f) for f in reversed(FRAMEWORKS)]
    records.append({"what": "matrix product", "float32": 100.0, "bfloat16": 300.0})
    records = [{**r, "date": "2026-01-02"} for r in records]
    results = {"processor": "A <b>", "device": "cpu (2 threads)", "records": records}
    (tmp_path / "a-2.json").write_text(json.dumps(results))
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    table = report.readme_table()
    rows = [line for line in table.splitlines() if line.startswith("|")][2:]
    titles = ["PyTorch", "MXNet", "TensorFlow", "JAX"]
    assert [row.split("|")[1].strip() for row in rows] == titles
    assert "10.00 (9.00 to 11.00)" in rows[0]
    page = report.page(results)
    assert "<b>" not in page.replace("<body>", "") and 'src="http' not in page
    assert "(2026-01-02)" in page  # once, though there are five records
    assert page.count("<table>") == 3  # training; start and memory; share of the rate


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
