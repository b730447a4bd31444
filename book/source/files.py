"""How what is built is written: each file as a whole, or not at all.

A full disk or a kill leaves the old file as it was, and where several belong together,
the next run of the same command makes the rest. All that book/, bench/ and study/
write goes through `write`; tests/test_files.py looks for anything else.
"""

import os
from pathlib import Path

from d2l_utils.base import replace_file


def write(path, content):
    """Write text (UTF-8, line ends as they are) or bytes; makes the folder.

    Raises OSError, with the name of the file, if that cannot be done; then it is as it
    was before.
    """
    path = Path(os.path.realpath(path))  # a link stays one
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = content.encode() if isinstance(content, str) else content
    try:
        replace_file(path, raw, path.with_name(f".{path.name}.{os.getpid()}.part"))
    except OSError as error:
        error.filename, error.filename2 = str(path), None
        raise
