"""The standard streams of a command: whatever they are, they change neither its work nor its exit code."""

import errno
import io
import os
import select
import sys
from typing import Any

READER_GONE = (errno.EPIPE, errno.EIO, errno.ENXIO)
"""What writing to a pipe that nobody reads, or to a terminal that was closed, ends with."""


class _OutputFile(io.FileIO):
    """The file descriptor of a standard output: what nobody can receive any more is dropped.

    Of `may_fail`, which is for messages, everything is dropped that cannot be written, as on a full disk.
    """

    def __init__(self, descriptor: int, label: str, *, may_fail: bool) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self._label, self._may_fail = label, may_fail

    def write(self, data: Any) -> int:
        try:
            while (written := super().write(data)) is None:  # a terminal or pipe that another program set not to block
                select.select([], [self], [])
            return written
        except OSError as error:
            if self._may_fail or error.errno in READER_GONE:
                return memoryview(data).nbytes
            self._may_fail = True  # what is buffered is not tried again when the process ends
            error.filename = self._label
            raise


def prepare_standard_streams() -> None:
    """Make the standard streams of this process usable, once, before it opens any file.

    Closed ones lead nowhere (otherwise the next file that is opened takes their number, and is written to). Characters that
    the encoding of an output lacks are escaped. What nobody reads any more is dropped.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest free number is this one
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = _prepared(sys.stdout, 1, "standard output")
    sys.stderr = _prepared(sys.stderr, 2, "standard error", may_fail=True)


def _prepared(stream: Any, descriptor: int, label: str, *, may_fail: bool = False) -> Any:
    if stream is None:
        return open(descriptor, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    if type(getattr(stream.buffer, "raw", stream.buffer)) is not io.FileIO:  # a console of Windows
        stream.reconfigure(errors="backslashreplace")
        return stream
    stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(_OutputFile(descriptor, label, may_fail=may_fail)), stream.encoding, "backslashreplace",
        line_buffering=stream.line_buffering, write_through=stream.write_through,
    )  # fmt: skip
