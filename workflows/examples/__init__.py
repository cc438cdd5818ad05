"""Example workflows, and the simulated life around them, for the demo and the tests."""
