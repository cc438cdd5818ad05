"""`./run benchmark`: run the product and the yardstick in turn, several rounds, and print one table."""

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psycopg

from tests import engines
from tests.benchmarks import over_http, over_rabbitmq, whole_site
from tests.benchmarks.databases import Databases, product, yardstick

Run = Callable[[Databases, int], dict[str, Any]]


@dataclass(frozen=True)
class Figure:
    """Something that is measured: the product's run, the run that it is compared with, and what is wanted.

    `rate` compares instances a second (at least `wanted` times the yardstick's); otherwise milliseconds (at most so
    many times). Without `wanted` it is for information.
    """

    name: str
    title: str
    product: Run
    yardstick: Run | None
    wanted: float | None
    postgresql: bool = True
    rabbitmq: bool = False
    rate: bool = True
    pick: str = "p50"
    against: str = "p50"
    share: float = 1.0

    def met(self, ratio: float) -> bool | None:
        """Tell whether the ratio is what is wanted."""
        if self.wanted is None:
            return None
        return ratio >= self.wanted if self.rate else ratio <= self.wanted


@dataclass
class Result:
    """One line of the table: medians over the rounds."""

    name: str
    title: str
    product: float
    yardstick: float
    ratio: float
    wanted: str
    met: bool | None
    ratios: list[float]


def _product(kind: str, figure: str, **options: Any) -> Run:
    def run(databases: Databases, instances: int) -> dict[str, Any]:
        url = databases.ready(kind)
        try:
            return product(databases, figure, url, instances=instances, **options)
        finally:
            databases.drop(url.removeprefix("sqlite:///"))

    return run


def _yardstick(figure: str, **options: Any) -> Run:
    return lambda databases, instances: yardstick(databases, figure, instances=instances, **options)


def _relay(figure: str) -> Run:
    def run(databases: Databases, messages: int) -> dict[str, Any]:
        url = databases.ready("postgresql")
        try:
            broker = engines.rabbitmq().url
            return product(databases, figure, url, module="relay_alone", messages=messages, BROKER_URL=broker)
        finally:
            databases.drop(url)

    return run


def _wide(kind: str, module: str) -> Run:
    def run(databases: Databases, tasks: int) -> dict[str, Any]:
        url = databases.ready(kind)
        try:
            return product(databases, "run", url, module=module, tasks=tasks)
        finally:
            databases.drop(url.removeprefix("sqlite:///"))

    return run


def _growth(path: str) -> Run:
    def run(databases: Databases, _: int) -> dict[str, Any]:
        return {
            name: product(databases, "measure", databases.filled(stored), module="growth", instances=100)[path]
            for name, stored in (("small", SMALL), ("large", LARGE))
        }

    return run


_EVENT = _yardstick("event", processes=4)
_LINE: Mapping[str, Any] = {"rate": False, "pick": "seconds", "against": "seconds", "share": 1 / 3}
SMALL, LARGE = 1_000, 100_000
FIGURES = (
    Figure(
        "sqlite", "SQLite, an event a transaction, 1 process",
        _product("sqlite", "events"), _yardstick("sqlite"), 0.30, postgresql=False,
    ),
    Figure(
        "event-4", "PostgreSQL, an event a transaction, 4 processes",
        _product("postgresql", "events", processes=4), _EVENT, 0.45,
    ),
    Figure(
        "event-2", "PostgreSQL, an event a transaction, 2 processes",
        _product("postgresql", "events", processes=2), _EVENT, 0.45,
    ),
    Figure(
        "event-cold", "… 4 processes that remember nothing",
        _product("postgresql", "events", processes=4, remember=0), _EVENT, None,
    ),
    Figure(
        "batch", "PostgreSQL, 100 events a transaction, 2 processes",
        _product("postgresql", "events", processes=2, at_once=100), _EVENT, 1.0,
    ),
    Figure(
        "batch-batch", "… against the yardstick's own batches",
        _product("postgresql", "events", processes=2, at_once=100), _yardstick("batch", processes=2), None,
    ),
    Figure(
        "http", "PostgreSQL, POST events/batch/, 100 a request, 2 callers",
        lambda databases, instances: over_http.run(databases, instances=instances), _EVENT, None,
    ),
    Figure(
        "rabbitmq", "RabbitMQ, the whole path, 2 workers",
        lambda databases, instances: over_rabbitmq.run(databases, instances=instances), _EVENT, 0.7, rabbitmq=True,
    ),
    Figure(
        "relay", "the relay alone, messages/s (against bare confirms)",
        _relay("product"), _relay("bare"), 0.5, rabbitmq=True, share=20.0,
    ),
    Figure(
        "rabbitmq-latency-p50", "over RabbitMQ, service to service, p50, ms",
        lambda databases, instances: over_rabbitmq.latency(databases, instances=instances), _yardstick("latency"),
        2.5, rabbitmq=True, rate=False, share=0.1,
    ),
    Figure(
        "latency-p50", "task done → next message out, p50, ms",
        _product("postgresql", "latency"), _yardstick("latency"), 2.5, rate=False, share=0.1,
    ),
    Figure(
        "latency-p95", "task done → next message out, p95 (against p50), ms",
        _product("postgresql", "latency"), _yardstick("latency"), 5.0, rate=False, pick="p95", share=0.1,
    ),
    Figure(
        "growth-event", "100,000 stored instances against 1,000: an event, ms",
        _growth("event"), None, 1.05, rate=False, pick="large", against="small",
    ),
    Figure(
        "growth-api", "… the first page of the API's list, ms (at most 15)",
        _growth("/api/v1/instances/"), None, 1.2, rate=False, pick="large", against="small",
    ),
    Figure(
        "growth-page", "… the list as a page, ms (at most 15)",
        _growth("/instances/"), None, 1.2, rate=False, pick="large", against="small",
    ),
    Figure(
        "growth-own", "… the list as an assignee's page, ms (at most 15)",
        _growth("own /instances/"), None, 1.2, rate=False, pick="large", against="small",
    ),
    Figure(
        "growth-search", "… the API's list by a search field, the slowest of eight, ms (at most 15)",
        _growth("search"), None, None, rate=False, pick="large", against="small",
    ),
    Figure(
        "growth-search-page", "… the same as a page, ms",
        _growth("search page"), None, None, rate=False, pick="large", against="small",
    ),
    Figure(
        "growth-overview", "… the overview, ms",
        _growth("/"), None, None, rate=False, pick="large", against="small",
    ),
    Figure(
        "steps-sqlite", "SQLite, 100 steps in a line (against a plain loop), ms",
        _product("sqlite", "product", module="steps_line"), _product("sqlite", "loop", module="steps_line"),
        2.5, postgresql=False, **_LINE,
    ),
    Figure(
        "steps-postgresql", "PostgreSQL, the same, ms",
        _product("postgresql", "product", module="steps_line"), _product("postgresql", "loop", module="steps_line"),
        2.5, **_LINE,
    ),
    Figure(
        "stage-sqlite", "SQLite, an event among 5,000 tasks against one among 5, ms",
        _wide("sqlite", "stage_5000"), None, 2.0, postgresql=False, rate=False, pick="wide", against="narrow", share=1.0,
    ),
    Figure(
        "stage-postgresql", "PostgreSQL, the same, ms",
        _wide("postgresql", "stage_5000"), None, 2.0, rate=False, pick="wide", against="narrow", share=1.0,
    ),
    Figure(
        "plugins-sqlite", "SQLite, 1,000 plugins registered against the 10 that match, ms",
        _wide("sqlite", "plugins_1000"), None, 2.0, postgresql=False, rate=False, pick="many", against="few",
    ),
    Figure(
        "plugins-postgresql", "PostgreSQL, the same, ms",
        _wide("postgresql", "plugins_1000"), None, 2.0, rate=False, pick="many", against="few",
    ),
)  # fmt: skip


def measure(figure: Figure, databases: Databases, *, rounds: int, instances: int, tasks: int) -> Result:
    """Run a figure: in every other round the yardstick goes first."""
    count = tasks if figure.yardstick is None else max(1, int(instances * figure.share))
    pairs = []
    for number in range(rounds):
        if figure.yardstick is None:
            both = figure.product(databases, count)
            pairs.append((both[figure.pick] * 1000, both[figure.against] * 1000))
            continue
        if number % 2:
            other = figure.yardstick(databases, count)
            ours = figure.product(databases, count)
        else:
            ours = figure.product(databases, count)
            other = figure.yardstick(databases, count)
        if figure.rate:
            pairs.append((ours["instances"] / ours["seconds"], other["instances"] / other["seconds"]))
        else:
            pairs.append((ours[figure.pick] * 1000, other[figure.against] * 1000))
    ratios = [ours / other for ours, other in pairs]
    ratio = statistics.median(ratios)
    wanted = "" if figure.wanted is None else f"{'≥' if figure.rate else '≤'} {figure.wanted}"
    return Result(
        figure.name,
        figure.title,
        round(statistics.median(ours for ours, _ in pairs), 2),
        round(statistics.median(other for _, other in pairs), 2),
        round(ratio, 3),
        wanted,
        figure.met(ratio),
        [round(one, 3) for one in ratios],
    )


def costs(databases: Databases, *, instances: int) -> Iterator[Result]:
    """Count what an instance costs PostgreSQL."""
    for at_once, title in ((1, "an event a transaction"), (100, "100 events a transaction")):
        counts = _product("postgresql", "cost", at_once=at_once)(databases, instances)
        limits = {"statements": 42.0, "commits": 6.5} if at_once == 1 else {"commits": 0.15}
        for what in ("statements", "commits", "wakeups"):
            found, limit = round(counts[what], 2), limits.get(what)
            yield Result(
                f"cost-{at_once}-{what}", f"PostgreSQL, {title}: {what} an instance", found, 0.0, 0.0,
                "" if limit is None else f"≤ {limit}", None if limit is None else found <= limit, [],
            )  # fmt: skip


def main(arguments: Sequence[str]) -> int:
    """Measure what was asked for and print it. Not meeting a wish is no error: the machine may be busy."""
    names = [figure.name for figure in FIGURES]
    looking = ", ".join(one.name for one in whole_site.LOOKS)
    parser = argparse.ArgumentParser(prog="./run benchmark", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often each figure is measured (default 3)")
    parser.add_argument("--instances", type=int, default=600, help="instances in a run (default 600)")
    parser.add_argument("--tasks", type=int, default=5000, help="tasks that are done in the large stage (default 5000)")
    parser.add_argument(
        "--only", action="append", default=[], help=f"beginnings of names: {', '.join(names)}, cost, {looking}"
    )
    parser.add_argument("--json", type=Path, help="write the results to this file")
    chosen = parser.parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="orchestrator-benchmark-"))
    # Its own name is also that of our part of the broker: no other run takes it away.
    own = str(folder / folder.name)
    borrowed = os.environ.setdefault("TEST_DATA_DIR", own) != own
    wanted = [figure for figure in FIGURES if _is_chosen(figure.name, chosen.only)]
    counting = _is_chosen("cost", chosen.only)
    looks = [one for one in whole_site.LOOKS if _is_chosen(one.name, chosen.only)]
    server = _postgresql() if counting or looks or any(figure.postgresql for figure in wanted) else None
    has_broker = any(figure.rabbitmq for figure in wanted) and _rabbitmq()
    databases = Databases(folder, server)
    results = []
    try:
        print(_line("figure", "product", "yardstick", "ratio", "wanted", "met"), flush=True)
        for figure in wanted:
            if (figure.postgresql and server is None) or (figure.rabbitmq and not has_broker):
                continue
            result = measure(
                figure, databases, rounds=chosen.rounds, instances=chosen.instances, tasks=chosen.tasks
            )  # fmt: skip
            results.append(result)
            _print(result)
        if counting and server is not None:
            for result in costs(databases, instances=max(1, chosen.instances // 2)):
                results.append(result)
                _print(result)
        for one in looks if server is not None else ():
            for title, found, limit in whole_site.look(one, postgresql=server):
                wish = "" if limit is None else f"≤ {limit:g}"
                met = None if limit is None else found <= limit
                results.append(Result(one.name, title, found, 0.0, 0.0, wish, met, []))
                _print(results[-1])
    finally:
        databases.close()
        if not borrowed:
            engines.stop_all()
        shutil.rmtree(folder, ignore_errors=True)
    if chosen.json:
        chosen.json.write_text(json.dumps([asdict(result) for result in results], indent=2, ensure_ascii=False) + "\n")
    return 0


def _is_chosen(name: str, only: Sequence[str]) -> bool:
    return not only or any(name.startswith(beginning) for beginning in only)


def _postgresql() -> str | None:
    try:
        engine = engines.postgresql()
    except engines.EngineMissing as error:
        print(f"!!! NOT MEASURED: {error}", file=sys.stderr)
        return None
    with psycopg.connect(engine.url) as connection:
        row = connection.execute("SELECT version(), current_setting('fsync')").fetchone()
    assert row is not None
    print(f"{' '.join(row[0].split()[:2])}, fsync {row[1]}: {engine.origin}")
    if row[1] != "on":
        print("Its commits do not wait for the disk: ratios hold, instances a second are too good.")
    return engine.url


def _rabbitmq() -> bool:
    try:
        engine = engines.rabbitmq()
    except engines.EngineMissing as error:
        print(f"!!! NOT MEASURED: {error}", file=sys.stderr)
        return False
    print(f"RabbitMQ: {engine.origin}")
    return True


def _print(result: Result) -> None:
    met = {True: "yes", False: "NO", None: ""}[result.met]
    yard, ratio = (f"{result.yardstick:,.2f}", f"{result.ratio:.2f}") if result.ratio else ("", "")
    print(_line(result.title, f"{result.product:,.2f}", yard, ratio, result.wanted, met), flush=True)


def _line(title: str, *cells: str) -> str:
    return f"{title:<60}" + "".join(f"{cell:>11}" for cell in cells)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
