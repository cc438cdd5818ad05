"""A service's program, for tests that end it: it writes down when work begins and ends.

python -m tests.client.program URL QUEUE INBOUND JOURNAL [TOKEN]; work ends when the file JOURNAL.go is there.
"""

import logging
import sys
import time
from pathlib import Path

from workflows.client import Services

url, queue, inbound, journal, *token = sys.argv[1:]
logging.basicConfig(level=logging.INFO)
services = Services(
    url,
    token=token[0] if token else None,
    inbound_queue=inbound,
    concurrency=2,
    announce_after=None,
    lease_seconds=3,
    poll_seconds=1,
)


def write(line: str) -> None:
    """Add a line to the journal."""
    with Path(journal).open("a") as file:
        file.write(f"{line}\n")


@services.service(queue)
def work(task):
    """Begin, wait for the word, end."""
    write(f"begin {task.business_ref_no}")
    while not Path(f"{journal}.go").exists():
        time.sleep(0.02)
    write(f"end {task.business_ref_no}")
    return {"done_by": services.name}


finished = services.run()
write(f"finished {finished}")
