"""Steps: small pieces of work that run inside the orchestrator, in the transaction that records them."""

from workflows.steps.step import Done, Failed, StepTask, Waiting, step

__all__ = ["Done", "Failed", "StepTask", "Waiting", "step"]
