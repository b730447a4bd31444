"""Run a module or a file as on another system: `made_elsewhere.py SYSTEM WHAT ...`.

What that system lacks is absent for the code of this project, and for it alone: the
standard library and the frameworks need what this machine is. So a module of ours that
imports os gets one without fork.
"""

import builtins
import importlib
import os
import runpy
import sys
from types import ModuleType

SCHEDULING = {
    "sched_getaffinity", "sched_param", "sched_setaffinity", "sched_setscheduler",
}  # fmt: skip
LACKING = {  # names of os and signal, and whole modules
    "darwin": SCHEDULING,
    "win32": SCHEDULING | {
        "fork", "forkpty", "getegid", "geteuid", "getgid", "getloadavg", "getpgid",
        "getuid", "killpg", "mkfifo", "nice", "setsid", "setuid", "uname", "wait",
        "SIGALRM", "SIGCHLD", "SIGHUP", "SIGKILL", "SIGQUIT", "SIGUSR1", "alarm",
        "fcntl", "grp", "pwd", "resource", "termios",
    },
}  # fmt: skip
OURS = ("d2l_utils", "book", "bench", "study")


class Stand(ModuleType):
    """A module of this system as another one has it."""

    def __init__(self, module, system):
        super().__init__(module.__name__)
        there = {k: v for k, v in vars(module).items() if k not in LACKING[system]}
        self.__dict__.update(there)
        if module is sys:
            self.platform = system


def pretend(system):
    """From now on, our modules that are loaded find themselves on that system."""
    found, real = {}, builtins.__import__

    def load(name, of=None, *args, **kwargs):
        file = (of or {}).get("__file__") or ""
        if os.path.relpath(file or "/", ".").split(os.sep)[0] not in OURS:
            return real(name, of, *args, **kwargs)
        if name in LACKING[system]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        if name in ("os", "signal", "sys"):
            if name not in found:
                found[name] = Stand(importlib.import_module(name), system)
            return found[name]
        return real(name, of, *args, **kwargs)

    builtins.__import__ = load


if __name__ == "__main__":
    system, what = sys.argv[1:3]
    sys.argv, sys.path[0] = sys.argv[2:], os.getcwd()
    pretend(system)
    if what.endswith(".py"):
        runpy.run_path(what, run_name="__main__")
    else:
        runpy.run_module(what, run_name="__main__", alter_sys=True)
