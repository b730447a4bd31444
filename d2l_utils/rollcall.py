"""Are all workers of a training there? Asked before a framework waits for them."""

import contextlib
import json
import socket
import time

WAIT = 120  # seconds
ANSWER = 10  # seconds, for a message on a connection that stands


def call_roll(workers, rank, wait=WAIT):
    """Return when all workers have called; raise ValueError with those that have not.

    The first worker listens at its address, which its framework uses afterwards. The
    others connect to it, and hear from it who is missing. The frameworks wait for one
    another, too, but each for another time, and with another message, or none.

    workers: ['host:port', ...] in the order of their ranks. wait: seconds.
    """
    end = time.monotonic() + wait
    missing = _listen(workers, end) if rank == 0 else _call(workers[0], rank, end)
    if missing:
        who = "This worker" if len(missing) == 1 else "These workers"
        ranks = ", ".join(f"rank {r} ({workers[r]})" for r in missing)
        raise ValueError(
            f"{who} did not connect within {wait:g} s: {ranks}. Was the command "
            "started there, with this rank? Does a firewall close the port?"
        )


def _listen(workers, end):
    """Wait for the others, as rank 0; the ranks that have not called before `end`."""
    calls, missing = [], set(range(1, len(workers)))
    with socket.create_server(("", int(workers[0].rpartition(":")[2]))) as server:
        while missing and time.monotonic() < end:
            server.settimeout(max(0.01, end - time.monotonic()))
            try:
                call = server.accept()[0]
            except TimeoutError:
                break
            call.settimeout(ANSWER)
            try:
                missing.discard(int(call.recv(16)))
                calls.append(call)
            except (OSError, ValueError):  # no call of a worker
                call.close()
    for call in calls:
        with call, contextlib.suppress(OSError):  # it ended: the framework will say so
            call.sendall(json.dumps(sorted(missing)).encode())
            call.recv(1)  # the worker closes first, so that this port is free at once
    return sorted(missing)


def _call(first, rank, end):
    """Call the first worker; the ranks that it misses, or [0]: it does not answer."""
    host, _, port = first.rpartition(":")
    while True:
        left = max(0.01, end - time.monotonic())
        try:
            call = socket.create_connection((host, int(port)), timeout=left)
            break
        except OSError:
            if time.monotonic() >= end:
                return [0]
            time.sleep(0.1)
    with call:
        call.settimeout(left + ANSWER)
        try:
            call.sendall(str(rank).encode())
            said = call.recv(4096)
        except OSError:
            said = b""
    return json.loads(said) if said else [0]
