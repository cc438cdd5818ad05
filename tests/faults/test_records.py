"""What a run leaves behind can be read back, also after its writer was killed."""

from __future__ import annotations

import json
import os
import signal
import uuid
from pathlib import Path

import pytest

from tests.faults import records


def test_an_operation_is_read_back_with_what_came_of_it(tmp_path: Path) -> None:
    log = records.OperationLog(tmp_path / "a.jsonl", driver="http")
    asked = log.begin("start", key="R-1", request={"business_ref_no": "R-1"})
    log.end(asked, records.OK, {"status": 201})

    (operation,) = records.read_operations(tmp_path / "a.jsonl")

    assert (operation.driver, operation.kind, operation.key) == ("http", "start", "R-1")
    assert (operation.outcome, operation.status) == ("ok", 201)
    assert operation.after is not None
    assert operation.before <= operation.after


def test_an_operation_without_an_end_is_unknown(tmp_path: Path) -> None:
    log = records.OperationLog(tmp_path / "a.jsonl", driver="http")
    log.begin("start", key="R-1", request={})

    (operation,) = records.read_operations(tmp_path / "a.jsonl", tmp_path / "never-written.jsonl")

    assert operation.outcome == records.UNKNOWN


def test_a_torn_line_costs_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    log = records.OperationLog(path, driver="http")
    log.begin("start", key="R-1", request={})
    path.write_bytes(path.read_bytes() + b'\n{"id": "torn')
    log.begin("start", key="R-2", request={})

    assert [one.key for one in records.read_operations(path)] == ["R-1", "R-2"]


@pytest.mark.parametrize(
    ("status", "outcome"), [(None, "unknown"), (200, "ok"), (409, "fail"), (503, "unknown"), (429, "unknown")]
)
def test_a_time_out_is_not_a_failure(status: int | None, outcome: str) -> None:
    assert records.outcome_of(status) == outcome


def test_a_killed_service_leaves_what_it_had_done(tmp_path: Path) -> None:
    path, instance = tmp_path / "ledger.sqlite3", str(uuid.uuid4())
    body = json.dumps(
        {"event_name": "StartTask", "instance_id": instance, "stage_name": "A", "task_name": "t", "attempt": 1}
    ).encode()
    child = os.fork()
    if child == 0:
        ledger = records.Ledger(path)
        received = ledger.received("q", body, message_id="m")
        ledger.effect("q", body, message_id="m", idempotency_key="k", idempotent=True, received=received)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    ledger = records.Ledger(path)

    again = ledger.effect("q", body, message_id="m", idempotency_key="k", idempotent=True, received=0)

    assert not again, "an idempotent service does it once"
    (effect,) = records.read_effects(path)
    assert effect.attempt_key == records.AttemptKey(instance, "A", "t", 1)
    assert effect.body_sha == records.sha_of(body)
    (delivery,) = records.read_deliveries(path)
    assert (delivery.event_name, delivery.message_id) == ("StartTask", "m")
