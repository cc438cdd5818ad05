"""The HTTP client of every driver: asks, and writes down before and after what it asked and what it was told."""

from __future__ import annotations

import http.client
import json
import random
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.faults.records import FAIL, UNKNOWN, OperationLog, outcome_of

SECONDS = 8.0


@dataclass(frozen=True)
class Answer:
    """What came of a call. `status` is None where nothing came back."""

    status: int | None
    body: Any
    outcome: str

    @property
    def ok(self) -> bool:
        """Tell whether it was done."""
        return self.outcome == "ok"

    @property
    def unknown(self) -> bool:
        """Tell whether nobody knows."""
        return self.outcome == UNKNOWN

    @property
    def code(self) -> str | None:
        """Give the code of a refusal."""
        return self.body.get("code") if isinstance(self.body, dict) else None


class Client:
    """Asks as one user, through any of the given ports. Each thread takes its own."""

    def __init__(self, ports: Sequence[int], token: str, log: OperationLog) -> None:
        self._ports = ports
        self._token = token
        self.log = log
        self._open = threading.local()

    def get(self, path: str) -> Any:
        """Read something; None where there is no answer, or a bad one. Not logged: it changes nothing."""
        status, body = self._send("GET", path, None, {})
        return body if status == 200 else None

    def ask(
        self,
        path: str,
        body: Any = None,
        *,
        kind: str,
        key: str,
        request: Mapping[str, Any],
        idempotency_key: str | None = None,
        raw: bytes | None = None,
    ) -> Answer:
        """Post something; `raw` is sent as it is."""
        headers = {}
        if idempotency_key is not None:
            headers["Idempotency-Key"] = idempotency_key
            request = {**request, "idempotency_key": idempotency_key}
        operation = self.log.begin(kind, key=key, request=request)
        status, said = self._send("POST", path, raw if raw is not None else _bytes(body), headers)
        answer = _judged(status, said)
        self.log.end(operation, answer.outcome, _kept(answer))
        return answer

    def send_events(self, events: Sequence[Mapping[str, Any]]) -> list[Answer]:
        """Hand in several messages in one request; each is an operation of its own."""
        begun = [
            self.log.begin("event", key=str(event.get("event_id", "")), request=_shortened(event)) for event in events
        ]
        status, said = self._send("POST", "/api/v1/events/batch/", _bytes({"events": list(events)}), {})
        answers = []
        for number, operation in enumerate(begun):
            try:
                entry = said["results"][number]
                answer = _judged(int(entry["status"]), entry)
            except (KeyError, TypeError, IndexError):
                answer = _judged(status if status is None or status >= 400 else None, said)
            self.log.end(operation, answer.outcome, _kept(answer))
            answers.append(answer)
        return answers

    def _send(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> tuple[int | None, Any]:
        port = random.choice(self._ports)
        lines: dict[int, http.client.HTTPConnection] = self._open.__dict__.setdefault("lines", {})
        line = lines.pop(port, None) or http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
        sent = {"Authorization": f"Bearer {self._token}", **headers}
        if body is not None:
            sent["Content-Type"] = "application/json"
        try:
            line.request(method, path, body=body, headers=sent)
            response = line.getresponse()
            said = response.read()
            if not response.will_close:
                lines[port] = line
        except (OSError, http.client.HTTPException):
            line.close()
            return None, None
        try:
            return response.status, json.loads(said)
        except ValueError:
            return response.status, said[:500].decode(errors="replace")


def _bytes(body: Any) -> bytes:
    return json.dumps({} if body is None else body).encode()


def _judged(status: int | None, body: Any) -> Answer:
    outcome = outcome_of(status)
    # It says: I don't know yet, ask again.
    if outcome == FAIL and isinstance(body, dict) and body.get("code") == "request_in_progress":
        outcome = UNKNOWN
    return Answer(status, body, outcome)


_KEPT = ("id", "outcome", "code", "reason", "state", "attempt", "last_sequence", "claimed_by")


def _kept(answer: Answer) -> dict[str, Any]:
    kept: dict[str, Any] = {"status": answer.status}
    if isinstance(answer.body, dict):
        kept |= {key: answer.body[key] for key in _KEPT if key in answer.body}
        if isinstance(answer.body.get("instance"), dict):
            kept["instance_id"] = answer.body["instance"].get("id")
        if "tasks" in answer.body:
            kept["tasks"] = [task["message_id"] for task in answer.body["tasks"]]
    elif answer.body is not None and answer.status is not None and answer.status >= 400:
        kept["said"] = str(answer.body)[:300]
    return kept


def _shortened(message: Mapping[str, Any]) -> Mapping[str, Any]:
    if len(str(message.get("output", ""))) < 2_000:
        return message
    return {**message, "output": "(long)"}
