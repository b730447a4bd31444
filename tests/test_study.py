"""The study: what its records tell, what its runner does, what its networks are."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from filelock import FileLock

from book.source.book import ROOT
from d2l_utils import study
from study import ensembles, gpu, run, table, train
from study.table import GROUPS, VARIANTS, Variant
from study.train import on_canvas, settings_of, shifts

# Records ------------------------------------------------------------------------------


def record(variant="a", seed=1, accuracy=0.9, **others):
    labels = np.arange(10_000) % 10
    classes = np.where(np.arange(10_000) < 10_000 * accuracy, labels, (labels + 3) % 10)
    return {
        "format": study.FORMAT, "variant": variant, "seed": seed,
        "settings": {"lr": 0.01, "epochs": 15},
        "network": {"params": 1000, "macs": 2000},
        "history": {"train_loss": [1.0, 0.5]},
        "test": {"accuracy": accuracy, "classes": study.pack(classes, labels)},
        **others,
    }  # fmt: skip


def stored(folder, *records):
    for r in records:
        path = folder / f"{r['variant']}.seed{r['seed']}.json"
        path.write_text(json.dumps(r))
    return study.Study("made", sorted({r["variant"] for r in records}), folder)


def test_predictions_come_back_from_few_bytes():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 10_000)
    classes = np.where(rng.random(10_000) < 0.9, labels, rng.integers(0, 10, 10_000))
    text = study.pack(classes, labels)
    assert (study.unpack(text, labels) == classes).all() and len(text) < 3_000
    with pytest.raises(study.RecordError, match="10000 predictions do not fit 9999"):
        study.unpack(text, labels[1:])


def test_calibration_against_counts_by_hand():
    rng = np.random.default_rng(1)
    p = rng.dirichlet(np.ones(10) / 3, 500)
    labels = rng.integers(0, 10, 500)
    counts = study.calibration(p, labels)
    for i in range(study.BINS):
        inside = [
            j for j in range(500) if i / 15 <= p[j].max() < (i + 1) / 15 or
            (i == 14 and p[j].max() == 1)
        ]  # fmt: skip
        assert counts["count"][i] == len(inside)
        right = sum(int(p[j].argmax() == labels[j]) for j in inside)
        assert counts["right"][i] == right
        assert counts["confidence"][i] == pytest.approx(
            sum(p[j].max() for j in inside), abs=1e-3
        )
    gaps = [abs(c - r) for c, r in zip(counts["confidence"], counts["right"])]
    assert study.calibration_error(counts) == pytest.approx(sum(gaps) / 500)


def test_intervals_are_students():
    """By hand: of 1, 2, 3 the deviation is 1, so 4.303 / sqrt(3)."""
    assert study.interval([1, 2, 3]) == (2, pytest.approx(2.4843, abs=1e-3))
    assert study.interval([5]) == (5, float("inf"))


@pytest.mark.parametrize(
    "a, b, words",
    [
        # differences 1.0, 1.1, 0.9 points: deviation 0.1, half width 0.25
        ((0.9, 0.9, 0.9), (0.91, 0.911, 0.909), "+1.00 percentage points, 95 % "
         "interval +0.75 to +1.25 (3 seeds)"),
        ((0.9, 0.9, 0.9), (0.91, 0.90, 0.89), ": no difference seen"),
        ((0.9, 0.9, 0.9), (0.89,), "-1.00 percentage points (one seed, so no"),
        ((0.90, 0.80, 0.70), (0.91, 0.81, 0.71), "+1.00 to +1.00"),  # paired
    ],
)  # fmt: skip
def test_differences_are_paired(tmp_path, a, b, words):
    records = [
        record(name, seed, accuracy)
        for name, accuracies in (("a", a), ("b", b))
        for seed, accuracy in enumerate(accuracies, 1)
    ]
    text = stored(tmp_path, *records).difference("a", "b")
    assert words in text
    assert ("no difference seen" in text) == ("no difference seen" in words)


def test_a_table_and_plots(tmp_path):
    from matplotlib import pyplot as plt

    watched = {"steps": {"loss": [2.3, 2.2], "live": [10, 9], "predicted": [3, 4]}}
    made = stored(tmp_path, record(), record(seed=2, accuracy=0.92, **watched))
    line = made.table().splitlines()[1]
    assert line.split() == [
        "a", "1,000", "2,000", "0.01", "15", "0.9100", "±", "0.1271", "2",
    ]  # fmt: skip
    assert made.table("a") == made.table()
    with pytest.raises(study.RecordError, match="no records of 'c'"):
        made.table("a", "c")
    lines = []
    for draw in (made.plot, made.curves, lambda: made.curves("loss", window=2)):
        draw()
        lines.append(plt.gcf().axes[0].get_lines())
    assert list(lines[0][0].get_xdata()) == [0.9, 0.92]
    assert list(lines[1][0].get_ydata()) == [1.0, 0.5]
    assert list(lines[1][0].get_xdata()) == [1, 2]  # epochs
    assert [(*x.get_xdata(), *x.get_ydata()) for x in lines[2]] == [(0.5, 2.25)]
    assert [x.get_linestyle() for x in lines[1]] == ["-", "--"]  # a seed each
    assert [x.get_text() for x in lines[1][0].axes.texts] == ["a", "a"]
    made.curves("live")
    assert plt.gca().get_ylabel() == "live classes"
    plt.close("all")
    with pytest.raises(study.RecordError, match="has 'gradients'"):
        made.curves("gradients")
    assert made.values("a", "test", "accuracy") == [0.91 - 0.01, 0.92]
    with pytest.raises(study.RecordError, match=r"no 'train' there; there are .*test"):
        made.values("a", "train")
    labels = np.arange(10_000) % 10
    assert [(c == labels).mean() for c in made.classes("a", labels)] == [0.9, 0.92]


def test_of_many_curves_one_a_network_is_labelled(tmp_path):
    from matplotlib import pyplot as plt

    stored(tmp_path, *(record(n, seed) for n in "abc" for seed in (1, 2, 3))).curves()
    assert sorted(x.get_text() for x in plt.gca().texts) == ["a", "b", "c"]
    plt.close("all")


def test_what_is_no_record_is_named(tmp_path):
    path = tmp_path / "a.seed1.json"
    whole = json.dumps(record())
    for text, words in [
        (whole[:200], "a.seed1.json is damaged"),
        ("[]", "has format None"),
        (whole.replace('"format": 1', '"format": 9'), "has format 9, but only 1 can"),
        (whole.replace('"settings"', '"s"'), "lacks settings"),
    ]:
        path.write_text(text)
        with pytest.raises(study.RecordError, match=words):
            study.Study("made", ["a"], tmp_path)
    with pytest.raises(study.RecordError, match="There is no study 'nin1x1'"):
        study.study("nin1x1")
    path.unlink()
    with pytest.raises(study.RecordError, match=r"no records of 'a'.* none at all"):
        study.Study("made", ["a"], tmp_path).accuracies("a")


def test_the_records_that_travel_are_of_the_table():
    """Every one is whole, of the settings in the table, and scored on all images."""
    trained = {g: [v.name for v in vs] for g, vs in GROUPS.items()}
    assert study.groups() == {
        **trained,
        "ensembles": ["nin28", "googlenet28", "two_nin28", "two_googlenet28",
                      "nin28_and_googlenet28"],
    }  # fmt: skip
    for path in study.RESULTS.glob("*.json"):
        if path == study.GROUPS:
            continue
        found = study.read(path)
        if found["variant"] in ensembles.PAIRS:
            assert sum(found["test"]["calibration"]["count"]) == 10_000
            continue
        variant, what = VARIANTS[found["variant"]], path.name.split(".", 1)[1]
        choosing = what.startswith("lr")
        expected = settings_of(variant, found["settings"]["lr"], choosing)
        assert found["settings"] == expected, path.name
        epochs = found["history"].get("train_loss", ())
        if variant.steps:
            assert {len(x) for x in found["steps"].values()} == {variant.steps}
        elif {"diverged", "died"} & {*found.get("held_out", ())}:
            assert choosing and found["held_out"]["accuracy"] == 0
        else:
            assert len(epochs) == expected["epochs"]
            if not choosing:
                assert sum(found["test"]["calibration"]["count"]) == 10_000


def probabilities(rng, seed, folder, variant):
    """A record with these random probabilities beside it, in 16 bits."""
    p = rng.dirichlet(np.ones(10), 40).astype("float16")
    np.savez(folder / f"{variant}.seed{seed}.npz", p=p)
    made = record(variant, seed, network={"params": 3, "macs": 5})
    (folder / f"{variant}.seed{seed}.json").write_text(json.dumps(made))
    return p.astype(float)


def test_averages_of_stored_probabilities(tmp_path):
    """Of one kind: each seed with the next. Of two kinds: the same seeds."""
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 10, 40)
    nin = {s: probabilities(rng, s, tmp_path, "nin28") for s in (1, 2, 3)}
    other = {s: probabilities(rng, s, tmp_path, "googlenet28") for s in (2, 3)}
    expected = {
        **{f"two_nin28.seed{s}": nin[s] + nin[s % 3 + 1] for s in nin},
        **{f"two_googlenet28.seed{s}": other[2] + other[3] for s in other},
        **{f"nin28_and_googlenet28.seed{s}": nin[s] + other[s] for s in other},
    }
    assert sorted(ensembles.write(labels, tmp_path)) == sorted(expected)
    for name, total in expected.items():
        found = study.read(tmp_path / f"{name}.json")
        right = (total.argmax(axis=1) == labels).mean()
        assert found["test"]["accuracy"] == right
        assert (study.unpack(found["test"]["classes"], labels)
                == total.argmax(axis=1)).all()  # fmt: skip
        own = (total / total.sum(axis=1, keepdims=True))[np.arange(40), labels]
        assert found["test"]["loss"] == pytest.approx(-np.log(own).mean(), abs=1e-4)
        assert found["network"] == {"params": 6, "macs": 10}
    table = study.Study("made", [*ensembles.PAIRS], tmp_path).table()
    assert len(table.splitlines()) == 4


def test_one_network_is_no_average(tmp_path):
    probabilities(np.random.default_rng(2), 1, tmp_path, "nin28")
    assert ensembles.write(np.zeros(40, int), tmp_path) == []


# The runner ---------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A runner of made-up variants, in folders of its own."""
    results, build = tmp_path / "results", tmp_path / "build"
    results.mkdir()
    monkeypatch.setattr(study, "RESULTS", results)
    monkeypatch.setattr(study, "GROUPS", results / "groups.json")
    for name, value in {
        "BUILD": build, "RUNNING": build / "running.json", "idle": lambda: None,
        "ROOT": tmp_path, "LATER_SEEDS": (4,),
    }.items():  # fmt: skip
        monkeypatch.setattr(run, name, value)
    build.mkdir()
    groups = {
        "one": [Variant("a", "study:softmax", lrs=(0.1,), seeds=(1, 2))],
        "two": [Variant("b", "study:lenet", seeds=(1, 2))],
    }
    variants = {v.name: v for vs in groups.values() for v in vs}
    monkeypatch.setattr(run, "GROUPS", groups)
    monkeypatch.setattr(run, "VARIANTS", variants)
    monkeypatch.setattr(run, "find_spec", lambda name: True)
    return results


PEAK = 0.03  # the learning rate that a made-up training likes best


def trains(monkeypatch, peak=PEAK, fail=()):
    """Runs end at once, with a record; those named in `fail` end with an error."""
    begun = []

    def command(r):
        begun.append(r.name)
        made = {
            **record(r.variant.name, r.seed), "settings": r.settings(),
            "made": {"processor": "p", "seconds": 1.0},
        }  # fmt: skip
        if r.choosing:
            made["held_out"] = {"accuracy": 1 - abs(np.log10(r.lr / peak)) / 9}
        code = "import sys; print('the reason'); sys.exit(3)"
        if r.name not in fail:
            code = f"open({str(r.path)!r}, 'w').write({json.dumps(made)!r})"
        return [sys.executable, "-c", code]

    monkeypatch.setattr(run, "command_of", command)
    return begun


def test_the_most_important_comes_first(place, monkeypatch):
    begun = trains(monkeypatch)
    assert run.main([]) == 0
    rates = [f"b.lr{lr:g}" for lr in table.LEARNING_RATES]
    assert begun == ["a.seed1", "a.seed2", *rates, "b.seed1", "b.seed2",
                     "a.seed4", "b.seed4"]  # fmt: skip
    assert study.read(place / "b.seed1.json")["settings"]["lr"] == PEAK
    begun.clear()
    assert run.main([]) == 0 and begun == []  # nothing is missing


@pytest.mark.parametrize(
    "peak, tried", [(1e-4, [0.001, 0.0003]), (0.3, [0.3, 1]), (PEAK, [])]
)
def test_the_grid_grows_where_the_best_is_at_its_end(place, monkeypatch, peak, tried):
    begun = trains(monkeypatch, peak)
    run.main(["--only", "b"])
    further = [x for x in begun if ".lr" in x][len(table.LEARNING_RATES) :]
    assert further == [f"b.lr{lr:g}" for lr in tried]


def test_a_run_that_fails_is_named_once_and_the_next_goes_on(
    place, monkeypatch, capsys
):
    begun = trains(monkeypatch, fail=["a.seed1"])
    assert run.main([]) == 1
    assert begun.count("a.seed1") == 1 and "b.seed2" in begun
    assert (
        "a.seed1 failed: the reason; see build/a.seed1.log" in capsys.readouterr().err
    )


def test_records_of_other_settings_are_refused(place, monkeypatch, capsys):
    trains(monkeypatch)
    run.main(["--only", "a"])
    begun = trains(monkeypatch)
    changed = replace(run.VARIANTS["a"], epochs=20)
    monkeypatch.setitem(run.GROUPS, "one", [changed])
    run.main([])
    assert not any(x.startswith("a.") for x in begun) and "b.seed1" in begun
    said = capsys.readouterr().err
    assert said.count("a.seed1.json was made with other settings (epochs 15, now 20)")


def test_a_record_cut_short_is_refused(place, monkeypatch, capsys):
    trains(monkeypatch)
    run.main(["--only", "a"])
    path = place / "a.seed2.json"
    path.write_text(path.read_text()[:300])
    begun = trains(monkeypatch)
    run.main(["--only", "a"])
    assert begun == [] and "a.seed2.json is damaged" in capsys.readouterr().err


def test_only_what_fits_is_begun(place, monkeypatch):
    begun = trains(monkeypatch)
    monkeypatch.setattr(
        run, "seconds_of", lambda r, known: 90 if r.variant.name == "a" else 10
    )
    run.main(["--minutes", "1"])
    assert begun and not any(x.startswith("a") for x in begun)


def test_runs_at_the_same_time_share_the_processors(monkeypatch):
    monkeypatch.setattr(run.os, "cpu_count", lambda: 4)
    assert run.environ(1) is None  # as the reader has set it
    threads = [run.environ(jobs)["OMP_NUM_THREADS"] for jobs in (2, 3, 8)]
    assert threads == ["2", "1", "1"]


def test_who_has_nothing_to_do_waits_for_what_may_come(place, monkeypatch):
    """Of two, one tries the last rate; then each trains a seed, at the same time."""
    trains(monkeypatch)
    monkeypatch.setattr(run, "LATER_SEEDS", ())
    variant = replace(run.VARIANTS["b"], lrs=(0.01, 0.03, 0.1))
    monkeypatch.setitem(run.GROUPS, "two", [variant])
    command, folder = run.command_of, place.parent
    wait = textwrap.dedent("""
        import time
        from pathlib import Path
        folder, until = Path({folder!r}), time.monotonic() + 60
        (folder / "{name}.begun").touch()
        while len(list(folder.glob("{others}.begun"))) < {number}:
            assert time.monotonic() < until, "alone"
    """)

    def meeting(r):
        others, number = ("b.lr*", 3) if r.choosing else ("b.seed*", 2)
        number -= r.choosing and r.lr != 0.1  # two rates first, without the third
        about = {"name": r.name, "others": others, "number": number}
        code = wait.format(folder=str(folder), **about) + command(r)[-1]
        return [sys.executable, "-c", code]

    monkeypatch.setattr(run, "command_of", meeting)
    assert run.main(["--only", "b", "--jobs", "2"]) == 0


def test_a_run_comes_after_other_sessions(place, monkeypatch):
    """It is a session of its own, the last of all where Linux divides by sessions."""
    about, group = place.parent / "about.json", Path("/proc/self/autogroup")
    code = textwrap.dedent(f"""
        import json, os, time
        from pathlib import Path
        path, until = Path({str(group)!r}), time.monotonic() + 20
        there = os.access(path, os.W_OK)
        last = lambda: not there or path.read_text().endswith("nice 19\\n")
        while not last() and time.monotonic() < until:
            pass  # the runner sets it once the process is there
        own = os.getsid(0) == os.getpid()
        Path({str(about)!r}).write_text(json.dumps([own, last()]))
    """)
    monkeypatch.setattr(run, "command_of", lambda r: [sys.executable, "-c", code])
    before = group.read_text() if group.exists() else ""
    run.main(["--only", "a"])
    assert json.loads(about.read_text()) == [True, True]
    assert before == (group.read_text() if group.exists() else "")


def test_a_runner_that_is_stopped_stops_all_its_runs(place, monkeypatch):
    asleep = [sys.executable, "-c", "import time; time.sleep(600)"]
    begun = []
    monkeypatch.setattr(run, "command_of", lambda r: begun.append(r) or [*asleep])

    def stop():
        while len(run.at_work) < 2:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop).start()
    with pytest.raises(SystemExit):
        run.main(["--jobs", "2"])
    assert not run.at_work and len(begun) == 2


def test_times_follow_records_of_this_processor(place, monkeypatch):
    trains(monkeypatch)
    run.main(["--only", "a"])
    monkeypatch.setattr(run.host, "processor_name", lambda: "p")
    known = run.measured()
    a = run.Run(run.VARIANTS["a"], 3, 0.1)
    assert run.seconds_of(a, known) == pytest.approx(1.0)
    twice = run.Run(replace(run.VARIANTS["a"], epochs=30), 3, 0.1)
    assert run.seconds_of(twice, known) == pytest.approx(2.0)
    monkeypatch.setattr(run.host, "processor_name", lambda: "another")
    assert run.measured() == []


def test_what_is_there_is_listed(place, monkeypatch, capsys):
    trains(monkeypatch)
    run.main(["--only", "a"])
    capsys.readouterr()
    assert run.main(["--list", "--minutes", "0"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "3 of 2 seeds" in lines[0] or "2 of 2 seeds" in lines[0]
    assert "next 4 runs (to choose the rate)" in lines[1] and "does not fit" in lines[1]


def test_unknown_names_are_refused(place, capsys):
    with pytest.raises(SystemExit):
        run.main(["--only", "nin_1x1x"])
    assert "no group or variant is named nin_1x1x" in capsys.readouterr().err


def test_never_two_runners(place, monkeypatch):
    begun = trains(monkeypatch)
    with FileLock(run.BUILD / "lock"), pytest.raises(SystemExit, match="at work"):
        run.main([])
    assert begun == []
    assert run.main(["--only", "a"]) == 0


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="no process is stopped here")
def test_a_runner_is_paused_while_time_is_measured(place):
    """As the state of a busy process shows."""
    sleeper = subprocess.Popen([sys.executable, "-c", "while True: pass"])

    def state():
        out = ["ps", "-o", "stat=", "-p", str(sleeper.pid)]
        return subprocess.run(out, capture_output=True, text=True).stdout[0]

    def becomes(letter):
        end = time.monotonic() + 60
        while (state() == "T") != (letter == "T") and time.monotonic() < end:
            time.sleep(0.01)
        return (state() == "T") == (letter == "T")

    try:
        run.RUNNING.write_text(json.dumps([sleeper.pid]))
        with run.paused() as stopped:
            assert stopped == []  # no runner holds the lock: what is written is old
        with FileLock(run.BUILD / "lock"):
            with run.paused() as stopped:
                assert stopped == [sleeper.pid] and becomes("T")
            assert becomes("R")
    finally:
        sleeper.kill()
        sleeper.wait()


def test_a_checkpoint_of_other_versions_is_refused(tmp_path):
    path = tmp_path / "a.checkpoint"
    train.check_checkpoint(path, {"torch": "2.12", "lr": 0.1})  # none is there yet
    path.write_bytes(b"")
    train.check_checkpoint(path, {"torch": "2.12", "lr": 0.1})
    with pytest.raises(SystemExit, match=r"of another run \(torch 2.12, now 2.13\)"):
        train.check_checkpoint(path, {"torch": "2.13", "lr": 0.1})
    assert path.exists()


def test_what_only_pytorch_trains_is_refused_elsewhere():
    variant = Variant("a", "study:one", smoothing=0.1, framework="jax")
    words = "a: cosine=True, smoothing=0.1, net='study:one' is for PyTorch only, not"
    with pytest.raises(ValueError, match=f"{words} for jax"):
        train.make_model(variant, 0.1, 10)


# The table and the networks ----------------------------------------------------------


def test_variants_have_one_meaning():
    names = [v.name for vs in GROUPS.values() for v in vs]
    assert {n: VARIANTS[n] for n in names} == VARIANTS
    for vs in GROUPS.values():
        assert all(VARIANTS[v.name] == v for v in vs)
    for v in VARIANTS.values():
        assert len(v.lrs) == 1 or len(v.lrs) >= 4
        assert v.size in (224, 96) or v.steps or v.epochs >= 15


def test_a_canvas_keeps_the_whole_image():
    images = np.random.default_rng(0).integers(1, 256, (3, 28, 28)).astype("uint8")
    for shift in (0, 16, -16):
        canvas = on_canvas(images, VARIANTS["canvas_dense"].canvas, shift)
        assert canvas.sum() == images.sum(dtype=int)
        assert canvas.shape == (3, *VARIANTS["canvas_dense"].shape)
        rows, columns = np.nonzero(canvas[0])
        assert (rows.min(), columns.min()) == (0, 16 + shift)


def test_a_shift_is_scored_to_the_left_and_to_the_right():
    images = np.full((4, 28, 28), 255, "uint8")

    def predict(model, X):  # class 0 unless a garment begins left of column 13
        assert X.shape[1:] == (1, 28, 60)
        begins = (X > 0).any(axis=(1, 2)).argmax(axis=1)
        return np.where((begins >= 13)[:, None], [[5.0, 0.0]], [[0.0, 5.0]])

    val = SimpleNamespace(images=images)
    d2l = SimpleNamespace(
        FashionMNIST=lambda: SimpleNamespace(val=val), predict=predict
    )
    found = shifts(d2l, VARIANTS["canvas_average"], None, np.zeros(4, int))
    assert found == [1.0] * 4 + [0.5] * 13


@pytest.mark.only("pytorch")
def test_networks_of_equal_cost(d2l, nin):
    from study import networks

    def counted(net, size=28, **settings):
        found = d2l.resources(getattr(networks, net)(**settings), (1, 1, size, size))
        return found.params, found.macs

    same = d2l.resources(nin["NiN28"](), (1, 1, 28, 28))
    assert counted("nin28") == (same.params, same.macs) == (149_542, 9_477_760)
    assert counted("nin", 224) == (1_992_166, 762_297_352)
    assert counted("googlenet", 96) == (5_977_530, 276_066_304)
    assert counted("lenet") == (61_706, 416_520)
    assert counted("lenet", wider=True)[0] == pytest.approx(149_542, rel=1e-3)
    params, macs = counted("googlenet28")
    for kind in ("1x1", "3x3", "5x5", "pool"):
        assert counted("googlenet28", kind=kind) == (
            pytest.approx(params, rel=0.005), pytest.approx(macs, rel=0.005)
        ), kind  # fmt: skip
    wide = VARIANTS["wide_1x1"].settings
    assert counted("nin28", **wide)[1] == pytest.approx(
        counted("nin28", **VARIANTS["two_3x3"].settings)[1], rel=0.005
    )


@pytest.mark.only("pytorch")
def test_every_network_of_the_table_is_built(d2l):
    for variant in VARIANTS.values():
        if variant.framework == "pytorch":
            model = train.make_model(variant, 0.1, 10)
            last = d2l.resources(model, (1, 1, variant.size, variant.size)).rows[-1]
            assert last.output_shape[1] == 10, variant.name


TINY = """
    import sys
    from dataclasses import replace
    from study import table, train

    variant = replace(table.VARIANTS["nin28"], epochs=3, images=640, batch_size=64,
                      keep=("probabilities",))
    from d2l_utils import torch as d2l

    class Few(d2l.FashionMNIST):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.is_sample = False
            self.val = tuple(part[:1000] for part in self.val)

    d2l.FashionMNIST = Few
    d2l.Trainer.__init__.__defaults__ = (0, 0, "float32", None, 2)
    if sys.argv[1] == "cut":
        import os, signal
        from study.recipe import Recipe
        training_step = Recipe.training_step

        def cut(self, batch):
            if self.trainer.train_batch_idx == 17:
                os.kill(os.getpid(), signal.SIGKILL)
            return training_step(self, batch)

        Recipe.training_step = cut
    if sys.argv[1] == "die":  # no ReLU gives anything but 0
        variant = replace(variant, epochs=40, settings={"last_relu": True})
        begin = train.begin

        def begin_dead(d2l, variant, model, data):
            begin(d2l, variant, model, data)
            for p in model.parameters():
                p.data.fill_(-1)

        train.begin = begin_dead
    lr = {"diverge": 1e4}.get(sys.argv[1], 0.05)
    choosing = sys.argv[1] in ("diverge", "die")
    train.run(variant, 1, lr, choosing, *sys.argv[2:])
"""


def carry_out(what, folder, name):
    """The status of one tiny run in a process of its own; it writes name.json."""
    files = [str(folder / f"{name}.checkpoint"), str(folder / f"{name}.json")]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    environ.pop("D2L_UTILS_FAST", None)
    command = [sys.executable, "-c", textwrap.dedent(TINY), what, *files]
    return subprocess.run(command, env=environ, cwd=folder).returncode


@pytest.mark.only("pytorch")
@pytest.mark.parametrize("what, how", [("diverge", "diverged"), ("die", "died")])
def test_a_learning_rate_that_is_too_high_is_an_answer(tmp_path, framework, what, how):
    """A network that has died is not trained to the end; 200 steps it would be."""
    assert carry_out(what, tmp_path, "high") == 0
    record = json.loads((tmp_path / "high.json").read_text())
    assert record["held_out"]["accuracy"] == 0 and 0 < record["held_out"][how] < 200
    assert not list(tmp_path.glob("*.checkpoint*"))


@pytest.mark.only("pytorch")
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
def test_a_run_that_was_killed_ends_like_one_that_was_not(tmp_path, framework):
    """Schedule, order, dropout, records: all go on from the checkpoint."""

    assert carry_out("whole", tmp_path, "once") == 0
    assert carry_out("cut", tmp_path, "twice") == -signal.SIGKILL
    assert not (tmp_path / "twice.json").exists()
    assert carry_out("whole", tmp_path, "twice") == 0
    once, twice = (
        json.loads((tmp_path / f"{name}.json").read_text())
        for name in ("once", "twice")
    )
    for found in (once, twice):
        del found["made"], found["history"]["seconds"]
    assert once == twice
    p = np.load(tmp_path / "once.npz")["p"]
    assert p.dtype == "float16" and np.allclose(p.sum(axis=1), 1, atol=0.01)
    assert once["history"].keys() == {"train_loss", "train_acc"}
    assert not list(tmp_path.glob("*.checkpoint*"))


# On a GPU -----------------------------------------------------------------------------


@pytest.mark.only("pytorch", "jax")
def test_the_gpu_commands_path_on_a_cpu(framework, tmp_path, monkeypatch, capsys):
    """Tiny: of one framework, two networks for two batches, no result stored."""
    monkeypatch.setenv("D2L_UTILS_FAST", "1")
    # The textbook's networks take long on a CPU.
    small = {"net": "nin:NiN28", "size": 28, "lrs": (0.05,)}
    monkeypatch.setattr(gpu, "TEXTBOOK", dict.fromkeys(table.TEXTBOOK, small))
    monkeypatch.setattr(gpu, "ON_GPU", (framework, "no_such_framework"))
    monkeypatch.setattr(gpu, "there", lambda: [framework])
    monkeypatch.setattr(gpu, "BATCH_SIZE", 8)
    monkeypatch.setattr(gpu, "find_spec", lambda name: None)
    monkeypatch.setattr(
        gpu.Session, "do", lambda self, what, *args, **_: in_process(args)
    )

    def in_process(args):
        assert args[:3] == ("-m", "study.gpu", "--time"), "fast mode trains no study"
        gpu.main(list(args[2:]))
        return capsys.readouterr().out

    assert gpu.main(["--out", str(tmp_path / "out"), "--minutes", "60"]) == 0
    report = (tmp_path / "out" / "report.md").read_text()
    rows = [x for x in report.splitlines() if x.startswith(f"| {framework}")]
    assert [x.split(" | ")[0] for x in rows] == [
        f"| {framework}, {case}, {who}" for case in table.TEXTBOOK
        for who in ("ours", "native")
    ]  # fmt: skip
    assert "- no_such_framework: not installed" in report
    assert (tmp_path / "out" / "records.tar.gz").exists()


@pytest.mark.only("pytorch", "jax")
def test_the_first_step_is_timed_apart(framework, d2l, monkeypatch):
    """Ours and by hand, whose first step takes 1,000 seconds of a made-up clock."""
    monkeypatch.setenv("D2L_UTILS_FAST", "1")
    small = {"net": "nin:NiN28", "size": 28, "lrs": (0.05,)}
    monkeypatch.setattr(gpu, "TEXTBOOK", {"small": small})
    monkeypatch.setattr(gpu, "BATCH_SIZE", 8)
    clock, late = time.perf_counter, []
    monkeypatch.setattr(time, "perf_counter", lambda: clock() + 1000 * bool(late))

    def slow_first(step):
        def slow(*args):
            result = step(*args)
            late.append(1)
            return result

        return slow

    monkeypatch.setattr(d2l.Trainer, "_train", slow_first(d2l.Trainer._train))
    ours = gpu.timed(framework, "small", "ours")
    late.clear()
    by_hand = gpu.by_hand(slow_first(len), 16, float, time.perf_counter())
    for found in (ours, by_hand):
        assert found["first"] > 1000 > sum(found["epochs"]) > 0


ABSENT = ("pooch", "platformdirs", "jupytext", "nbformat", "nbconvert", "IPython")
BARE = f"""
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {ABSENT}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
from study import gpu, run, train
assert not set({ABSENT}) & set(sys.modules)
train.notebook_class("nin", "pytorch", "NiN")
"""


@pytest.mark.only("pytorch")
def test_what_builds_the_book_need_not_be_there(framework):
    """On a machine with a GPU there may be PyTorch alone."""
    done = subprocess.run(
        [sys.executable, "-c", BARE], cwd=ROOT, capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr
