"""Those who watch: websockets that follow instances, and write down every number that they are told."""

from __future__ import annotations

import random
import select
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.faults.people import Driver
from tests.faults.records import Lines, read_lines
from tests.live.wire import Closed, Refused, Wire

_OPEN_SECONDS = 8.0
"""How long a socket is kept before another one is opened, to follow newer instances."""
_TOPICS = 20
_SILENCE = 12.0
"""When nothing has come for so long after the end, nothing will: a bit more than `FAR_SECONDS` of the live hub."""
_PATIENCE = 16.0


class _Wire(Wire):
    def waits(self, seconds: float) -> bool:
        """Tell whether something has come."""
        return bool(self._buffer) or bool(select.select([self._socket], [], [], seconds)[0])


class Watcher(Driver):
    """One user's websockets, one after the other. `may_see`: whether the instances are any business of theirs."""

    pause = 0.3

    def __init__(
        self,
        user: str,
        token: str,
        *,
        ports: Sequence[int],
        started: Callable[[], Sequence[str]],
        may_see: bool,
        folder: Path,
        stop: threading.Event,
    ) -> None:
        super().__init__(f"watcher-{user}", stop)
        self._user, self._token, self._ports = user, token, ports
        self._offered, self._may_see = started, may_see
        self._lines = Lines(folder / "frames.jsonl")
        self._random = random.Random(user)
        self._rounds = 0

    def round(self) -> None:
        """Open a socket, follow some instances, and write down what is said."""
        self._rounds += 1
        known: dict[str, int] = {}
        try:
            port = self._random.choice(self._ports)
            wire = _Wire(f"http://127.0.0.1:{port}", authorization=f"Bearer {self._token}")
            with wire:
                started = self._offered()
                for one in self._random.sample(started, min(_TOPICS, len(started))):
                    wire.say({"action": "subscribe", "topic": f"instance:{one}"})
                wire.say({"action": "subscribe", "topic": "instances"})
                self._listen(wire, known)
        except (OSError, Closed, Refused):
            return

    def _listen(self, wire: _Wire, known: dict[str, int]) -> None:
        end = time.monotonic() + _OPEN_SECONDS
        heard = time.monotonic()
        stopped = None
        while True:
            if self._stopping.is_set():
                stopped = stopped or time.monotonic()
                # What never comes to rest is not this one's to judge.
                if time.monotonic() - heard > _SILENCE or time.monotonic() - stopped > _PATIENCE:
                    break
            if wire.waits(0.3):
                frame = wire.hear(5)
                heard = time.monotonic()
                self._write(frame, known)
            elif time.monotonic() > end and not self._stopping.is_set():
                return
        for topic, sequence in known.items():
            if topic.startswith("instance:"):
                self._lines.add({"socket": f"{self._user}-end", "topic": topic, "view": sequence})

    def _write(self, frame: Mapping[str, Any], known: dict[str, int]) -> None:
        topic, sequence = frame.get("topic"), frame.get("sequence")
        if "changed" not in frame or not isinstance(sequence, int):
            return
        topic = str(topic)
        # Several commits of one moment share their number on the topics of lists.
        if topic == "instances" and known.get(topic) == sequence:
            return
        known[topic] = sequence
        allowed = self._may_see or not topic.startswith("instance:")
        socket = f"{self._user}-{self._rounds}"
        self._lines.add({"socket": socket, "topic": topic, "sequence": sequence, "allowed": allowed})


def read_frames(path: Path, last_sequence: Mapping[str, int]) -> list[dict[str, Any]]:
    """Read what sockets were told; to what each ended with is added what is true."""
    frames = []
    for frame in read_lines(path):
        if "view" in frame:
            frame["truth"] = last_sequence.get(str(frame["topic"]).partition(":")[2])
        frames.append(frame)
    return frames
