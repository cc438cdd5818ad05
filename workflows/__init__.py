"""Workflows with people in the loop."""
