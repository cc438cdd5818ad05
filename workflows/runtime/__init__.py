"""The shell around the pure core: one transaction per batch of commands, and what follows its commit."""
