"""The pages in a real browser. A package, so that what the tests share ends before those of other folders begin."""
