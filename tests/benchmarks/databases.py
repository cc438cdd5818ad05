"""Throw-away databases: empty ones for the yardstick, and copies of a prepared one for the product."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg

from tests import servers
from tests.tree import ROOT


class Databases:
    """Makes databases in a folder, or on a PostgreSQL server, and removes them all in the end."""

    def __init__(self, folder: Path, postgresql: str | None) -> None:
        self.folder, self._server = folder, postgresql
        self._count = 0
        self._made: list[str] = []
        self._prepared: dict[str, str] = {}
        self._filled: dict[int, str] = {}

    def empty(self, kind: str) -> str:
        """Return the name of a new file, or the address of a new database."""
        self._count += 1
        if kind == "sqlite":
            return str(self.folder / f"{self._count}.sqlite3")
        return self._create(f"benchmark_{os.getpid()}_{self._count}")

    def ready(self, kind: str) -> str:
        """Return a new DATABASE_URL where the product has its tables, the benchmark's templates and its users."""
        if kind not in self._prepared:
            address = self.empty(kind)
            self._prepared[kind] = address
            product(self, "prepare", f"sqlite:///{address}" if kind == "sqlite" else address)
        source = self._prepared[kind]
        if kind == "sqlite":
            copy = self.empty(kind)
            shutil.copy(source, copy)
            return f"sqlite:///{copy}"
        self._count += 1
        return self._create(f"benchmark_{os.getpid()}_{self._count}", like=_name(source))

    def filled(self, instances: int) -> str:
        """Return a PostgreSQL DATABASE_URL with so many stored instances, always the same one."""
        if instances not in self._filled:
            self._filled[instances] = self.ready("postgresql")
            product(self, "fill", self._filled[instances], module="growth", instances=instances)
        return self._filled[instances]

    def drop(self, address: str) -> None:
        """Remove a database that is not needed any more."""
        if address.startswith("postgresql"):
            self._run(f'DROP DATABASE IF EXISTS "{_name(address)}" WITH (FORCE)')
            self._made.remove(address)
        else:
            for file in self.folder.glob(Path(address).name + "*"):
                file.unlink()

    def close(self) -> None:
        """Remove what is left."""
        for address in list(self._made):
            self.drop(address)

    def _create(self, name: str, *, like: str | None = None) -> str:
        assert self._server is not None, "no PostgreSQL server was named"
        self._run(f'CREATE DATABASE "{name}"' + (f' TEMPLATE "{like}"' if like else ""))
        address = urlsplit(self._server)._replace(path=f"/{name}").geturl()
        if address.startswith("postgresql:/") and not address.startswith("postgresql://"):
            address = address.replace("postgresql:/", "postgresql:///", 1)
        self._made.append(address)
        return address

    def _run(self, sql: str) -> None:
        assert self._server is not None
        with psycopg.connect(self._server, autocommit=True) as connection:
            connection.execute(sql)  # type: ignore[arg-type]


def product(databases: Databases, figure: str, url: str, **options: Any) -> dict[str, Any]:
    """Run a figure of the product in a process of its own, as a site with that database, and return what it says.

    Options in capitals are settings of the site.
    """
    more = {"DATABASE_URL": url, "DATA_DIR": str(databases.folder), "SECRET_KEY": "benchmarks-only-" + "0123456789" * 5}
    module = options.pop("module", "pizza")
    more |= {name: options.pop(name) for name in list(options) if name.isupper()}
    return _said([f"tests.benchmarks.{module}", figure], options, servers.environment(**more))


def yardstick(databases: Databases, figure: str, **options: Any) -> dict[str, Any]:
    """Run a figure of the yardstick in a process of its own, on a new database, and return what it says."""
    address = databases.empty("sqlite" if figure == "sqlite" else "postgresql")
    try:
        return _said(["tests.benchmarks.yardstick", figure, address], options, servers.environment())
    finally:
        databases.drop(address)


def _said(command: list[str], options: dict[str, Any], environment: dict[str, str]) -> dict[str, Any]:
    words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    done = subprocess.run(
        [sys.executable, "-m", *command, *words], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-8_000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _name(address: str) -> str:
    return urlsplit(address).path.lstrip("/")
