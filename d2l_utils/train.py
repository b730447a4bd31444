"""Train on several machines: `python -m d2l_utils.train FILE --workers A,B --rank 0`.

FILE is a script, or a notebook of one framework, of which the cells tagged `imports`,
`model` and `train` are run. The same command is started once for each worker, with its
own rank; then a Trainer in FILE shares each batch with those of the other workers, as
it does with several devices of one machine (docs/several-devices.md).
"""

import argparse
import os
import re
import runpy
import socket
import sys
from importlib import import_module
from pathlib import Path

from d2l_utils.alike import LostContact, Unlike, lost
from d2l_utils.frameworks import FRAMEWORKS
from d2l_utils.scripts import cells_of

ADDRESS = re.compile(r"[^:,\s]+:\d+")
IMPORTS = re.compile(r"^\s*(?:from|import) d2l_utils(?: import |\.)(\w+)", re.M)


def framework_of(sources):
    """The one framework that the sources import; ValueError for none or several."""
    modules = {f.module: name for name, f in FRAMEWORKS.items()}
    found = [modules[m] for s in sources for m in IMPORTS.findall(s) if m in modules]
    if len(set(found)) != 1:
        raise ValueError(
            "The file imports no framework of d2l_utils, or several: add --framework "
            f"{'|'.join(FRAMEWORKS)}."
        )
    return found[0]


def addresses(text):
    """['host:port', ...] of workers; ArgumentTypeError for anything else."""
    workers = text.split(",")
    if not all(map(ADDRESS.fullmatch, workers)) or len(set(workers)) < len(workers):
        raise argparse.ArgumentTypeError(
            f"{text!r}: give host:port of each worker, with commas between them, and "
            "no two alike."
        )
    return workers


def check_addresses(workers, rank):
    """Raise ValueError for a host that is not known, or if this worker's port is taken.

    Otherwise the workers would wait for one another for minutes.
    """
    places = [worker.rpartition(":")[::2] for worker in workers]
    for host, port in places:
        try:
            socket.getaddrinfo(host, int(port))
        except (OSError, OverflowError) as error:
            why = f"{host}:{port} cannot be resolved on this machine: {error}."
            raise ValueError(why) from error
    with socket.socket() as own:
        try:
            own.bind(("", int(places[rank][1])))
        except OSError as error:
            raise ValueError(
                f"Port {places[rank][1]} is in use on this machine ({error.strerror}). "
                f"Give the worker with rank {rank} another one, in all commands."
            ) from error


def main(argv=None):
    parser = argparse.ArgumentParser(
        "python -m d2l_utils.train", description=__doc__.split("\n")[0]
    )
    parser.add_argument("file", type=Path, help="a script, or a notebook")
    parser.add_argument("--framework", choices=FRAMEWORKS)
    workers = parser.add_argument("--workers", type=addresses, required=True)
    workers.help = "host:port of each, in the order of their ranks"
    parser.add_argument("--rank", type=int, required=True, help="of this one, from 0")
    args = parser.parse_args(argv)
    if not 0 <= args.rank < len(args.workers):
        last = len(args.workers) - 1
        parser.error(f"--rank {args.rank}: the workers' ranks are 0 to {last}")
    if not args.file.is_file():
        parser.error(f"there is no file {args.file}")
    notebook = args.file.suffix == ".ipynb"
    try:
        text = None if notebook else args.file.read_text(encoding="utf-8")
        sources = cells_of(args.file) if notebook else [text]
        name = args.framework or framework_of(sources)
        check_addresses(args.workers, args.rank)
        device = import_module(f"{FRAMEWORKS[name].here}.device")
        device.join(args.workers, args.rank)
    except ValueError as error:  # the command itself may be right: no usage
        parser.exit(2, f"{parser.prog}: {error}\n")
    try:
        run(args.file, sources if notebook else None)
    except Unlike as error:
        sys.exit(str(error))
    except Exception as error:
        # Another worker's script may have failed before this one's Trainer looked.
        if not isinstance(error, LostContact) and device.is_lost(error):
            reason = str(error).partition("\n")[0]
            error = f"{lost(args.rank, None)} {type(error).__name__}: {reason}"
        elif not isinstance(error, LostContact):
            raise
        print(error, file=sys.stderr, flush=True)
        os._exit(1)  # a normal exit would wait for the other processes


def run(file, cells):
    """Run a script, or the cells of a notebook."""
    sys.argv = [str(file.absolute())]
    if cells is None:
        runpy.run_path(str(file), run_name="__main__")
        return
    space = {"__name__": "__main__"}
    for number, source in enumerate(cells, 1):
        exec(compile(source, f"{file.name}, cell {number}", "exec"), space)


if __name__ == "__main__":
    main()
