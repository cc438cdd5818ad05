"""Rows turned into the plain values that pages print."""
