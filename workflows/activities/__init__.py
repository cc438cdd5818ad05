"""Activities: work that others hook into a workflow without touching it."""
