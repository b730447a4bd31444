"""One file from one address, within limits of time and size, into memory.

What a file must hold, and where it is looked for, is in `d2l_utils.sources`.
"""

import io
import threading

TIMEOUT = 20  # seconds a server has to connect, and between any two bytes
SLOWEST = 20_000  # bytes/s, over each TIMEOUT: below that it is given up
LARGEST = 32 * 2**20  # bytes, of the data set; its largest file has 26,421,880


class FetchError(Exception):
    """A server did not send a file, or not as a server should.

    Example:
        >>> raise FetchError("it sends too much")
        Traceback (most recent call last):
        d2l_utils.fetching.FetchError: it sends too much
    """


class _Received(io.BytesIO):
    """The bytes so far. Writing fails when there are too many, or after `close`."""

    def __init__(self, largest):
        super().__init__()
        self.largest = largest

    def write(self, chunk):
        if self.tell() + len(chunk) > self.largest:
            raise FetchError(f"it sends more than {self.largest:,} bytes")
        return super().write(chunk)


def fetch(url: str, largest: int | None = None) -> bytes:
    """Download a file into memory; nothing is written to the disk.

    It ends after TIMEOUT seconds if nothing comes, and in any case after largest /
    SLOWEST seconds (28 minutes for LARGEST).

    Parameters:
        url: the address, http or https.
        largest: bytes that it may have, by default LARGEST.

    Returns:
        The bytes of the file.

    Raises:
        FetchError: no answer, an error page, less than the server announced, more
            than `largest` bytes, or less than SLOWEST bytes a second.

    Example:
        >>> len(fetch("https://d2l.ai/index.html"))  # doctest: +SKIP
        51282
    """
    import pooch

    received, errors = _Received(largest or LARGEST), []

    def work():
        try:
            get = pooch.HTTPDownloader(progressbar=True, timeout=TIMEOUT)
            get(url, received, None)
        except Exception as error:  # raised below, in the caller's thread
            errors.append(error)

    # In a thread, because there is no other way to give up on a server that sends a
    # byte now and then, or on a slow name server.
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            before = received.tell()
            thread.join(TIMEOUT)
            new = received.tell() - before
            if thread.is_alive() and new < SLOWEST * TIMEOUT:
                raise FetchError(f"it sent only {new:,} bytes in {TIMEOUT} s")
        if errors:
            raise FetchError(str(errors[0])) from errors[0]
        return received.getvalue()
    finally:
        received.close()  # the thread ends when it tries to write the next bytes
