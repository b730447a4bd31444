"""Run what is missing of the study: `python -m study.run`, or `make study`.

One run at a time, the most important first, at idle priority. Each is a process of its
own that keeps a checkpoint, so that an interruption costs the steps since the last one;
each ends with one record in d2l_utils/results, whole or not at all. First a variant's
learning rate is chosen, by a run for each one of its grid and further ones while the
best is at an end of it; then it is trained from every seed.
"""

import argparse
import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import median

from filelock import FileLock, Timeout

from book.source import files
from book.source.book import ROOT
from d2l_utils import host, study
from d2l_utils.frameworks import FRAMEWORKS
from study import ensembles
from study.table import FIRST_SEEDS, GROUPS, LATER_SEEDS, VARIANTS
from study.train import settings_of

BUILD = ROOT / "build" / "study"  # checkpoints, logs, the lock
RUNNING = BUILD / "running.json"  # process ids, while a runner runs
MOST_WIDENED = 2  # times that a grid grows
# Multiply-adds a second, forward and backward, where nothing was measured here yet.
GUESSED_RATE = 1.5e11


@dataclass(frozen=True)
class Run:
    """One training: of a seed, or to choose the learning rate."""

    variant: object
    seed: int
    lr: float
    choosing: bool = False

    @property
    def name(self):
        what = f"lr{self.lr:g}" if self.choosing else f"seed{self.seed}"
        return f"{self.variant.name}.{what}"

    @property
    def path(self):
        return study.RESULTS / f"{self.name}.json"

    @property
    def checkpoint(self):
        return BUILD / f"{self.name}.checkpoint"

    def settings(self):
        return settings_of(self.variant, self.lr, self.choosing)

    def record(self):
        """Its record; None where there is none. RecordError for one that is damaged or
        was made with other settings."""
        if not self.path.exists():
            return None
        record = study.read(self.path)
        theirs, ours = record["settings"], self.settings()
        other = [k for k in {**ours, **theirs} if ours.get(k) != theirs.get(k)]
        if other:
            raise study.RecordError(
                f"{self.path.name} was made with other settings ("
                + ", ".join(f"{k} {theirs.get(k)}, now {ours.get(k)}" for k in other)
                + "): delete it to train anew."
            )
        return record


def neighbour(lr, by):
    """The rate `by` places further on the grid ..., 0.01, 0.03, 0.1, 0.3, ..."""
    return float(f"{10 ** ((round(2 * math.log10(lr)) + by) / 2):.0e}")


def lr_runs(variant):
    """(runs that choose the learning rate, the rate or None while some are missing)."""
    if len(variant.lrs) == 1:
        return [], variant.lrs[0]
    lrs, found = list(variant.lrs), {}
    for _ in range(MOST_WIDENED + 1):
        runs = [Run(variant, FIRST_SEEDS[0], lr, choosing=True) for lr in lrs]
        for run in runs:
            if record := run.record():
                found[run.lr] = record["held_out"]["accuracy"]
        if len(found) < len(lrs):
            return runs, None
        best = max(lrs, key=found.get)
        if best == lrs[0]:
            lrs.insert(0, neighbour(lrs[0], -1))
        elif best == lrs[-1]:
            lrs.append(neighbour(lrs[-1], 1))
        else:
            break
    return runs, best


def runs_of(variant, seeds):
    """What a variant still needs, as far as it can be known now."""
    choosing, lr = lr_runs(variant)
    if lr is None:
        return [r for r in choosing if not r.record()]
    final = [Run(variant, seed, lr) for seed in seeds]
    return [r for r in final if not r.record()]


def next_run(only, done):
    """The most important run that is missing and not in `done`; None if none is left.

    `done`: names of runs that were begun, and messages about records that were printed.
    """
    for which in ("first", "later"):
        for group, variants in GROUPS.items():
            for variant in variants:
                if only and not {group, variant.name} & set(only):
                    continue
                if not find_spec(FRAMEWORKS[variant.framework].base):
                    continue
                more = len(variant.seeds) > 1 and not variant.steps
                seeds = variant.seeds if which == "first" else LATER_SEEDS * more
                try:
                    left = [r for r in runs_of(variant, seeds) if r.name not in done]
                except study.RecordError as error:
                    if str(error) not in done:
                        print(error, file=sys.stderr, flush=True)
                        done.add(str(error))
                    continue
                if left:
                    return left[0]
    return None


# How long ---------------------------------------------------------------------------


def work(settings, macs):
    """Multiply-adds of a run, three times the forward ones."""
    images = settings["images"] * settings["epochs"]
    if settings["steps"]:
        images = min(images, settings["steps"] * settings["batch_size"])
    return 3 * macs * images


def measured():
    """[(variant, framework, size, multiply-adds a second, MACs)] of this processor."""
    here, found = host.processor_name(), []
    for path in study.RESULTS.glob("*.json"):
        with contextlib.suppress(study.RecordError, KeyError, TypeError):
            record = study.read(path)
            if record["made"]["processor"] == here:
                settings, macs = record["settings"], record["network"]["macs"]
                rate = work(settings, macs) / record["made"]["seconds"]
                found.append((record["variant"], settings["framework"],
                              settings["size"], rate, macs))  # fmt: skip
    return found


def seconds_of(run, known):
    """How long a run takes here, by records of this processor; else a guess."""
    variant = run.variant
    like = [
        [x for x in known if x[0] == variant.name],
        [x for x in known if x[1:3] == (variant.framework, variant.size)],
        [x for x in known if x[1] == variant.framework],
        known,
    ]
    best = next((found for found in like if found), None)
    rate = median(x[3] for x in best) if best else GUESSED_RATE
    macs = next((x[4] for x in known if x[0] == variant.name), None)
    return work(run.settings(), macs or guessed_macs(variant)) / rate


def guessed_macs(variant):
    """MACs for one image, guessed from its size where no record tells."""
    return {28: 3e7, 56: 4e7, 96: 2.8e8, 224: 8e8}.get(variant.size, 1e8)


# Running ------------------------------------------------------------------------------


def idle():
    """Let everything else on the machine go first."""
    if hasattr(os, "SCHED_IDLE"):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    elif hasattr(os, "nice"):
        os.nice(19)


def last_of_sessions(pid):
    """Let also other sessions, such as other terminals, go before this process's own.

    Many a Linux first divides the processor between sessions (sched_autogroup in `man
    7 sched`); what `idle` sets then counts within a session only.
    """
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text("19", encoding="ascii")


def command_of(run):
    command = [sys.executable, "-m", "study.train", run.variant.name]
    command += ["--seed", str(run.seed), "--lr", repr(run.lr)]
    command += ["--choosing"] * run.choosing
    return [*command, "--checkpoint", str(run.checkpoint), "--out", str(run.path)]


def environ(jobs):
    """The environment of one of `jobs` runs at a time; each has a share of threads."""
    if jobs == 1:
        return None
    threads = max(1, (os.cpu_count() or 1) // jobs)
    return {**os.environ, "OMP_NUM_THREADS": str(threads)}


at_work = set()  # ids of the processes that train
beginning = threading.Lock()  # runs begin one after another: RUNNING names all


def carry_out(run, jobs=1):
    """Carry out a run; True if it ended with its record, else its log is kept."""
    log = BUILD / f"{run.name}.log"
    with open(log, "a", encoding="utf-8") as out:
        command = command_of(run) + ["--together"] * (jobs > 1)
        with beginning:
            process = subprocess.Popen(
                command, cwd=ROOT, stdout=out, stderr=out, env=environ(jobs),
                start_new_session=True,
            )  # fmt: skip
            last_of_sessions(process.pid)
            at_work.add(process.pid)
            files.write(RUNNING, json.dumps([os.getpid(), *at_work]))
        try:
            status = process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise
        finally:
            at_work.discard(process.pid)
    if status == 0 and run.path.exists():
        log.unlink()
        return True
    lines = [x for x in log.read_text(encoding="utf-8").splitlines() if x.strip()]
    print(f"{run.name} failed: {lines[-1] if lines else f'status {status}'}; "
          f"see {log.relative_to(ROOT)}", file=sys.stderr, flush=True)  # fmt: skip
    return False


@contextlib.contextmanager
def paused():
    """No runner of the study works within this block, where time is measured."""
    stopped = []
    if RUNNING.exists() and hasattr(signal, "SIGSTOP") and held():
        with contextlib.suppress(ValueError, OSError):
            for pid in json.loads(RUNNING.read_text(encoding="utf-8")):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
                    stopped.append(pid)
    try:
        yield stopped
    finally:
        for pid in stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def lock():
    BUILD.mkdir(parents=True, exist_ok=True)
    return FileLock(BUILD / "lock")


def held():
    """Whether a runner runs."""
    try:
        with lock().acquire(timeout=0):
            return False
    except Timeout:
        return True


def listing(only, minutes):
    """Lines: what is done, what is missing, how long it takes here, and what fits."""
    known, lines, left, total = measured(), [], minutes, 0.0
    counted = set()  # a variant may stand in several groups
    for group, variants in GROUPS.items():
        for variant in variants:
            if only and not {group, variant.name} & set(only):
                continue
            try:
                runs = runs_of(variant, variant.seeds)
                done = len(list(study.RESULTS.glob(f"{variant.name}.seed*.json")))
            except study.RecordError as error:
                lines.append(f"{group:16}{variant.name:34}{error}")
                continue
            took = sum(seconds_of(r, known) for r in runs) / 60
            total += took * (variant.name not in counted)
            counted.add(variant.name)
            text = f"{done} of {len(variant.seeds)} seeds"
            if runs:
                kind = "to choose the rate" if runs[0].choosing else "seeds"
                text += f", next {len(runs)} runs ({kind}), {took:.0f} min"
                if minutes is not None:
                    fits = took <= left
                    left -= took * fits
                    text += ", fits" if fits else ", does not fit"
            lines.append(f"{group:16}{variant.name:34}{text}")
    return [
        *lines,
        f"about {total / 60:.1f} h for these next runs on {host.processor_name()}",
    ]


def write_groups():
    """The names that `d2l.study` knows."""
    names = {group: [v.name for v in variants] for group, variants in GROUPS.items()}
    names |= ensembles.GROUPS
    files.write(study.GROUPS, json.dumps(names, indent=1) + "\n")


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="*", default=(), help="groups or variants")
    parser.add_argument("--list", action="store_true", help="what is done and missing")
    parser.add_argument("--minutes", type=float, help="begin only what fits")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time")
    args = parser.parse_args(argv)
    unknown = set(args.only) - set(GROUPS) - set(VARIANTS)
    if unknown:
        parser.error(f"no group or variant is named {', '.join(sorted(unknown))}; "
                     f"groups are {', '.join(GROUPS)}")  # fmt: skip
    if args.list:
        print("\n".join(listing(args.only, args.minutes)))
        return 0
    try:
        holding = lock().acquire(timeout=0)
    except Timeout:
        sys.exit("A runner of the study is at work here already.")
    with holding:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        write_groups()
        idle()
        try:
            return work_through(args.only, args.minutes, args.jobs)
        finally:
            RUNNING.unlink(missing_ok=True)


def work_through(only, minutes, jobs=1):
    """Carry out what is missing; returns 1 where a run failed."""
    began, done = time.monotonic(), set()
    turn, busy, stopped = threading.Condition(), set(), threading.Event()

    def fits(run):
        left = math.inf if minutes is None else 60 * minutes - time.monotonic() + began
        return left == math.inf or seconds_of(run, measured()) <= left

    def take():
        """The next run; None once no run is left, nor one that may bring others."""
        while not stopped.is_set():
            if run := next_run(only, done):
                done.add(run.name)  # one that fails is not tried twice
                if fits(run):
                    print(f"{time.strftime('%H:%M')} {run.name}", flush=True)
                    busy.add(run.name)
                    return run
            elif not busy:  # else a rate may be chosen soon, for which seeds are left
                return None
            else:
                turn.wait(timeout=1)

    def work():
        failed = False
        while True:
            with turn:
                run = take()
            if run is None:
                return failed
            failed |= not carry_out(run, jobs)
            with turn:
                busy.discard(run.name)
                turn.notify_all()

    if jobs == 1:  # in this thread, which signals reach
        return int(work())
    with ThreadPoolExecutor(jobs) as pool:
        at_once = []
        try:
            for _ in range(jobs):
                at_once.append(pool.submit(work))
            failed = [f.result() for f in at_once]
        except BaseException:
            stopped.set()
            while wait(at_once, timeout=0.1).not_done:  # one may just have begun
                for pid in [*at_work]:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGTERM)
            raise
    return int(any(failed))


if __name__ == "__main__":
    sys.exit(main())
