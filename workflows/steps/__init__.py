"""Steps: small pieces of work that run inside the orchestrator, in the transaction that records them."""

from workflows.definitions.schema import Target
from workflows.steps.callback import callbackstep
from workflows.steps.chain import activity, conditional, focus, group, inputstep
from workflows.steps.flows import PythonWorkflow, discover, workflow
from workflows.steps.links import Chain, Step, begin
from workflows.steps.observers import Seen, TurnRound, guard, listener
from workflows.steps.outcomes import Done, Failed, Skipped, StepTask, Waiting
from workflows.steps.step import Retry, retrystep, step

__all__ = [
    "Chain",
    "Done",
    "Failed",
    "PythonWorkflow",
    "Retry",
    "Seen",
    "Skipped",
    "Step",
    "StepTask",
    "Target",
    "TurnRound",
    "Waiting",
    "activity",
    "begin",
    "callbackstep",
    "conditional",
    "discover",
    "focus",
    "group",
    "guard",
    "inputstep",
    "listener",
    "retrystep",
    "step",
    "workflow",
]
