"""Streams and events of the pretend GPU: everything is done at once, and where the host would wait is counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Waiting:
    """What the host may wait for; its work is always done."""

    @staticmethod
    def on_wait(operation: str) -> None:
        """Count that the host waits; see `stream_functions`."""

    def query(self) -> bool:
        """Whether the work is done."""
        return True

    def synchronize(self) -> None:
        """Let the host wait."""
        self.on_wait(f"{type(self).__name__}.synchronize")


class Event(Waiting):
    """In the place of `torch.cuda.Event`."""

    def __init__(self, enable_timing: bool = False, blocking: bool = False, interprocess: bool = False) -> None:
        self.enable_timing = enable_timing

    def record(self, stream: Stream | None = None) -> None:
        """Mark the work so far."""

    def wait(self, stream: Stream | None = None) -> None:
        """Let a stream wait: the host does not."""


class Stream(Waiting):
    """In the place of `torch.cuda.Stream`."""

    def __init__(self, device: Any = None, priority: int = 0) -> None:
        self.priority = priority

    def wait_stream(self, stream: Stream) -> None:
        """Wait for the work of another stream: the host does not."""

    def wait_event(self, event: Event) -> None:
        """Wait for an event: the host does not."""

    def record_event(self, event: Event | None = None) -> Event:
        """Mark the work so far."""
        return event or Event()


@contextmanager
def stream(_: Stream | None) -> Iterator[None]:
    """In the place of `torch.cuda.stream`."""
    yield


def stream_functions(on_wait: Callable[[str], None]) -> dict[str, Any]:
    """What replaces functions and classes of `torch.cuda`; `on_wait` is told what the host waits for."""
    Waiting.on_wait = staticmethod(on_wait)  # type: ignore[method-assign, assignment]
    default = Stream()
    return {
        "Event": Event, "Stream": Stream, "stream": stream, "current_stream": lambda *_: default,
        "default_stream": lambda *_: default, "synchronize": lambda *_: on_wait("cuda.synchronize"),
    }  # fmt: skip
