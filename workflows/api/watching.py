"""Who is told of every answered request. Filled by wiring; an observer must be quick."""

from __future__ import annotations

from collections.abc import Callable

Observer = Callable[[str, str, int, float], None]
_observers: list[Observer] = []


def observe(observer: Observer) -> None:
    """This will tell the observer the route, method, status and seconds of every answered request from now on."""
    if observer not in _observers:
        _observers.append(observer)


def tell(route: str, method: str, status: int, seconds: float) -> None:
    """This will tell everybody."""
    for observer in _observers:
        observer(route, method, status, seconds)
