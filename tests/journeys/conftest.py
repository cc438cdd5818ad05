"""A door onto the house, as in the tests of the runtime: every history is checked when a journey is over."""

from tests.runtime.conftest import door

__all__ = ["door"]
