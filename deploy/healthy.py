"""Asks a process of the site whether it is alive: `python deploy/healthy.py PORT`. For containers without curl."""

import http.client
import os
import sys


def main(port: int) -> int:
    """Return 0 when it answers 200."""
    # A name under which the site may be asked for; a pattern like .example.org stands for one.
    names = [name.strip().lstrip(".") for name in os.environ.get("ALLOWED_HOSTS", "").split(",")]
    host = next((name for name in names if name and name != "*"), "localhost")
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=4)
    try:
        connection.request("GET", "/healthz", headers={"Host": host})
        return 0 if connection.getresponse().status == 200 else 1
    except OSError:
        return 1
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
