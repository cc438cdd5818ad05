"""The API as strangers meet it: a running site, bytes on a socket, and a program that tries everything it describes."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests import servers

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
    "response_schema_conformance,unsupported_method,allow_header_conformance,ignored_auth"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Site]:
    with servers.demo(tmp_path_factory.mktemp("demo")) as running:
        yield running


def send(site: servers.Site, body: Any, **headers: str) -> tuple[int, Any]:
    """Send a message without saying how long it is."""
    address = urlsplit(site.url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=30)
    try:
        sent = {"Authorization": f"Bearer {site.tokens['service-bot']}", "Content-Type": "application/json"} | headers
        connection.request("POST", "/api/v1/events/", body=body, headers=sent, encode_chunked=True)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def test_a_body_in_pieces_is_read(site: servers.Site):
    message = json.dumps({"event_name": "StartWorkflow", "component_name": "ITALIAN", "business_ref_no": "pieces"})

    status, said = send(site, iter([message[:20].encode(), message[20:].encode()]), **{"Transfer-Encoding": "chunked"})

    assert (status, said["outcome"]) == (200, "applied")


def test_a_body_in_pieces_has_the_same_limit(site: servers.Site):
    status, said = send(site, iter([b" " * 65_536] * 20), **{"Transfer-Encoding": "chunked"})

    assert (status, said["code"]) == (413, "too_large")


# Every boundary of every parameter takes a minute: the machine that judges a change has it.
@pytest.mark.parametrize(
    ("user", "phases"), [("admin", "coverage,fuzzing" if os.environ.get("CI") else "fuzzing"), ("fred", "fuzzing")]
)
def test_nothing_that_is_tried_finds_a_fault(user: str, phases: str, site: servers.Site, tmp_path: Path):
    run = subprocess.run(
        [
            str(Path(sys.executable).with_name("schemathesis")), "run", f"{site.url}/api/v1/schema/",
            "--header", f"Authorization: Bearer {site.tokens[user]}", "--checks", CHECKS,
            "--phases", phases, "--max-examples", "5" if os.environ.get("CI") else "3", "--seed", "1", "--warnings", "off",
            "--continue-on-failure", "--suppress-health-check", "all",
            # It waits for work for as long as it is told to.
            "--exclude-operation-id", "post-queue-lease",
        ],
        cwd=tmp_path, capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip

    assert run.returncode == 0, run.stdout[-8_000:]
