"""What the framework-free half knows of failures: losses, memory, interrupts, files."""

import json
import math
import os
import signal
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from d2l_utils import base, checkpoints, failures

LN10 = math.log(10)


def test_the_step_of_a_bad_loss():
    watch = failures.LossWatch(0.5, 10)
    assert watch.look([2.3, 2.2], epoch=0) is None
    with pytest.raises(FloatingPointError, match=r"nan in step 4 \(epoch 2\).*0.05"):
        watch.look([2.1, math.nan, 2.0], epoch=1)
    with pytest.raises(FloatingPointError, match=r"inf in step 1"):
        failures.LossWatch(None, None).look([math.inf], epoch=0)


def test_a_dead_network_is_told_from_a_slow_one():
    watch = failures.LossWatch(0.1, 10)
    assert watch.look([LN10] * 99, 0) is None, "momentum may still move it"
    assert watch.look([LN10 + 1e-4] * 2, 0) is None
    assert watch.look([LN10] * 99, 0) is None
    assert "below 0.1" in watch.look([LN10], 0)
    assert watch.look([LN10] * 50, 0) is None, "once is enough"
    assert failures.LossWatch(0.1, None).look([LN10] * 500, 0) is None
    assert "ln 5" in failures.LossWatch(0.1, 5).look([math.log(5)] * 100, 0)


@pytest.mark.parametrize(
    "error, expected",
    [
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("RESOURCE_EXHAUSTED: failed to allocate"), True),
        (MemoryError(), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of range"), False),
    ],
)
def test_out_of_memory(error, expected):
    assert failures.out_of_memory(error) is expected


def test_an_interrupt_waits_for_the_end_of_the_block():
    done = []
    with pytest.raises(KeyboardInterrupt), failures.Uninterrupted():
        signal.raise_signal(signal.SIGINT)
        done.append("rest of the step")
    assert done and signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_interrupt_comes_through():
    done = []
    with pytest.raises(KeyboardInterrupt), failures.Uninterrupted():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        done.append("never")
    assert not done and signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_error_is_not_hidden_by_an_interrupt():
    with pytest.raises(ZeroDivisionError), failures.Uninterrupted():
        signal.raise_signal(signal.SIGINT)
        raise ZeroDivisionError


def test_handlers_of_others_and_threads_are_left_alone():
    got = []
    before = signal.signal(signal.SIGINT, lambda *args: got.append(args))
    try:
        with failures.Uninterrupted():
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(got) == 1
    errors = []

    def in_thread():
        try:
            with failures.Uninterrupted():
                pass
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=in_thread)
    thread.start()
    thread.join()
    assert not errors


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "f"
    base.replace_file(path, b"old")

    def full(file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left"):
        base.replace_file(path, b"new")
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["f"]


def test_where_a_file_is_written(tmp_path, monkeypatch):
    """`~` is the home folder; what a link leads to is written; a folder stays one."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "drive" / "in").mkdir(parents=True)
    cases = {
        "~/a": "a",
        "b": "b",
        "link": "drive/target",  # a relative link, to a file that is not there yet
        "linked/../c": "drive/c",
    }
    (tmp_path / "link").symlink_to("drive/target")
    (tmp_path / "linked").symlink_to("drive/in")
    for name, written in cases.items():
        for content in (b"1", b"2"):
            base.replace_file(name, content)
            assert (tmp_path / written).read_bytes() == content, name
    assert (tmp_path / "link").is_symlink()
    there = base.file_path("b")
    monkeypatch.chdir("/")
    assert there == tmp_path / "b"
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for none in (tmp_path / "drive", tmp_path / "loop"):
        with pytest.raises(OSError, match=r"is not a regular file"):
            base.replace_file(none, b"")
    with pytest.raises(ValueError, match=r"no such user.*Write \./~no-such"):
        base.file_path("~no-such/x")


class Keeps:
    """What `alone` asks of a Trainer."""

    _holds_checkpoint, _writes = False, True

    def __init__(self, checkpoint):
        self.checkpoint = checkpoint

    @checkpoints.alone
    def within(self, do):
        return do()


def test_one_training_a_checkpoint(tmp_path):
    """Another one is refused, by another name, too, while the first goes on."""
    first, same = Keeps(tmp_path / "new" / "c"), Keeps(tmp_path / "link")
    same.checkpoint.symlink_to("new/c")
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "c.1234.part").touch()
    (tmp_path / "new" / "cc.1234.part").touch()

    def meanwhile():
        assert first.within(lambda: 1) == 1, "its own parts may ask for it again"
        assert Keeps(tmp_path / "new" / "d").within(lambda: 2) == 2
        with pytest.raises(checkpoints.CheckpointError, match=r"Another training is"):
            same.within(pytest.fail)
        return 3

    assert first.within(meanwhile) == 3
    assert os.listdir(tmp_path / "new") == ["cc.1234.part"], "left by one killed"
    with pytest.raises(KeyError):
        first.within(lambda: {}["an error"])
    assert same.within(lambda: 4) == 4


def test_a_disk_without_locks(tmp_path, monkeypatch):
    import filelock

    def acquire(*args, **kwargs):
        raise NotImplementedError

    monkeypatch.setattr(filelock.FileLock, "acquire", acquire)
    assert Keeps(tmp_path / "c").within(lambda: 1) == 1


@given(st.binary(max_size=300))
def test_any_bytes_give_a_checkpoint_error(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("c") / "checkpoint"
    path.write_bytes(content)
    with pytest.raises(checkpoints.CheckpointError):
        checkpoints.read(path)


def test_a_weights_file_is_no_checkpoint(tmp_path):
    from safetensors.numpy import save_file

    path = tmp_path / "w.safetensors"
    x = {"x": np.zeros(2, "float32")}
    save_file(x, path, {"format": "1"})
    with pytest.raises(
        checkpoints.CheckpointError, match=r"no checkpoint.*another path"
    ):
        checkpoints.read(path)
    for about in ("not json", json.dumps([1])):
        save_file(x, path, {"checkpoint": checkpoints.FORMAT, "about": about})
        with pytest.raises(checkpoints.CheckpointError):
            checkpoints.read(path)
