"""Rows, their moves, their querysets. Re-exported because Django looks here."""

from workflows.models.access import ApiToken, IdempotencyRecord
from workflows.models.activity import Activity, ActivityRecord, ActivityRecordKind, Plugin
from workflows.models.callback import CALL, StepCallback
from workflows.models.controls import BulkRetry, ControlRecord, EnginePause, Misfire, Schedule
from workflows.models.deadline import Deadline, DeadlineKind
from workflows.models.event_log import LoggedEvent
from workflows.models.handled_message import HandledMessage
from workflows.models.human_task import HumanTask, HumanTaskDraft
from workflows.models.instance import StageInstance, TaskInstance, WorkflowInstance
from workflows.models.lease import Lease
from workflows.models.outbox import OutboxMessage
from workflows.models.people import Person, Role, person_of
from workflows.models.plugin import PluginRun
from workflows.models.progress import TaskProgress
from workflows.models.quarantine import QuarantinedMessage
from workflows.models.queue_limit import QueueLimit
from workflows.models.search import SearchedValue
from workflows.models.subscription import (
    Product,
    Subscription,
    SubscriptionEvent,
    SubscriptionEventKind,
    SubscriptionRelation,
    SubscriptionVersion,
)
from workflows.models.template import WorkflowTemplate

__all__ = [
    "CALL",
    "Activity",
    "ActivityRecord",
    "ActivityRecordKind",
    "ApiToken",
    "BulkRetry",
    "ControlRecord",
    "Deadline",
    "DeadlineKind",
    "EnginePause",
    "HandledMessage",
    "HumanTask",
    "HumanTaskDraft",
    "IdempotencyRecord",
    "Lease",
    "LoggedEvent",
    "Misfire",
    "OutboxMessage",
    "Person",
    "Plugin",
    "PluginRun",
    "Product",
    "QuarantinedMessage",
    "QueueLimit",
    "Role",
    "Schedule",
    "SearchedValue",
    "StageInstance",
    "StepCallback",
    "Subscription",
    "SubscriptionEvent",
    "SubscriptionEventKind",
    "SubscriptionRelation",
    "SubscriptionVersion",
    "TaskInstance",
    "TaskProgress",
    "WorkflowInstance",
    "WorkflowTemplate",
    "person_of",
]
