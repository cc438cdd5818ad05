"""The shapes of what the API takes and gives, as JSON Schema: the components of the documentation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workflows.api import bodies, problems
from workflows.definitions import search
from workflows.definitions.schema import ACTIVITY_KIND, Phase, Target
from workflows.engine.lifecycle import (
    InstanceState,
    MessageState,
    QuarantineState,
    StageState,
    SubscriptionStatus,
    TaskState,
)
from workflows.models import ActivityRecordKind, Misfire, SubscriptionEventKind
from workflows.models.progress import MESSAGE_LENGTH
from workflows.runtime.backlog import Why
from workflows.runtime.pausing import EngineState
from workflows.runtime.phases import PhaseState, PluginState
from workflows.runtime.whereabouts import MOST, Direction

Schema = Mapping[str, Any]

TEXT: Schema = {"type": "string"}
MAYBE_TEXT: Schema = {"type": ["string", "null"]}
NUMBER: Schema = {"type": "integer", "minimum": 0}
MOMENT: Schema = {"type": "string", "format": "date-time"}
MAYBE_MOMENT: Schema = {"type": ["string", "null"], "format": "date-time"}
ID: Schema = {"type": "string", "format": "uuid"}
OBJECT: Schema = {"type": "object"}
MAYBE_OBJECT: Schema = {"type": ["object", "null"]}
FLAG: Schema = {"type": "boolean"}
ANYTHING: Schema = {}


def ref(name: str) -> dict[str, str]:
    """This will point at a component."""
    return {"$ref": f"#/components/schemas/{name}"}


def _object(properties: Mapping[str, Schema], *, optional: tuple[str, ...] = (), about: str = "") -> dict[str, Any]:
    said: dict[str, Any] = {"type": "object", "properties": dict(properties)}
    if required := [name for name in properties if name not in optional]:
        said["required"] = required
    if about:
        said["description"] = about
    return said


def _list(of: Schema) -> dict[str, Any]:
    return {"type": "array", "items": dict(of)}


def _where_event(names: list[str], *needed: str) -> dict[str, Any]:
    named = {"properties": {"event_name": {"enum": names}}, "required": ["event_name"]}
    return {"if": named, "then": {"required": list(needed)}}


def _one_of(states: Any) -> dict[str, Any]:
    return {"type": "string", "enum": [str(state) for state in states]}


_LINK: Schema = {"type": ["string", "null"], "format": "uri"}


def _page(of: str) -> dict[str, Any]:
    return _object({"results": _list(ref(of)), "next": _LINK, "previous": _LINK})


_INSTANCE_NOW: Schema = {
    "oneOf": [
        _object({"id": ID, "state": _one_of(InstanceState), "business_status": MAYBE_TEXT}),
        {"type": "null"},
    ]
}
_INSTANCE: Mapping[str, Schema] = {
    "id": ID,
    "business_ref_no": TEXT,
    "component_name": TEXT,
    "workflow_name": TEXT,
    "version": NUMBER,
    "state": _one_of(InstanceState),
    "business_status": MAYBE_TEXT,
}
_SEARCH: Schema = {
    "type": "object",
    "additionalProperties": {"type": ["string", "number", "boolean"]},
    "description": "The search fields that are there.",
}
_MOMENTS: Mapping[str, Schema] = {
    "created_at": MOMENT,
    "updated_at": MOMENT,
    "finished_at": MAYBE_MOMENT,
    "last_sequence": NUMBER,
}
_TASK: Schema = _object(
    {
        "task_name": TEXT,
        "task_type": TEXT,
        "state": _one_of(TaskState),
        "attempt": NUMBER,
        "assigned_to": MAYBE_TEXT,
        "claimed_by": MAYBE_TEXT,
        "due_at": MAYBE_MOMENT,
        "outcome": MAYBE_TEXT,
        "error": MAYBE_OBJECT,
        "output": MAYBE_OBJECT,
    }
)
_PLUGIN: Schema = _object(
    {
        "name": TEXT,
        "mandatory": FLAG,
        "state": _one_of(PluginState),
        "message": TEXT,
        "percent": {"type": ["number", "null"], "minimum": 0, "maximum": 100},
        "system": TEXT,
        "regulation": TEXT,
        "task_name": {**MAYBE_TEXT, "description": "The task that it is; null: its filter policy kept it out."},
    }
)
_PHASE: Schema = _object(
    {
        "phase": _one_of(Phase),
        "state": _one_of(PhaseState),
        "warning": {**FLAG, "description": "Somebody in it failed who holds nobody up."},
        "plugins": _list(_PLUGIN),
    }
)
_STAGE: Schema = _object(
    {
        "stage_name": TEXT,
        "stage_order": {"type": "number"},
        "state": _one_of(StageState),
        "tasks": _list(_TASK),
        "kind": {"type": "string", "const": ACTIVITY_KIND, "description": "Only of a stage that plugins work in."},
        "activity": {**TEXT, "description": "Of an activity: its name."},
        "warning": {**FLAG, "description": "Of an activity: of one of its phases."},
        "phases": {**_list(_PHASE), "description": "Of an activity: pre, parallel, post."},
    },
    optional=("kind", "activity", "warning", "phases"),
)
_WHERE: Mapping[str, Schema] = {
    "direction": {**_one_of(Direction), "description": "Which way it goes, or went last."},
    "reason": {
        "anyOf": [
            _object(
                {
                    "by": {"type": "string", "enum": ["operator", "policy", "guard", "failure"]},
                    "actor": MAYBE_TEXT,
                    "at": MAYBE_MOMENT,
                    "message": TEXT,
                    "guard": MAYBE_TEXT,
                    "task": MAYBE_TEXT,
                    "error": MAYBE_OBJECT,
                }
            ),
            {"type": "null"},
        ],
        "description": "Why it was turned round, or what it does not go on for; null while all is well.",
    },
    "current": {
        **_list(
            _object(
                {
                    "stage_name": TEXT,
                    "task_name": TEXT,
                    "position": NUMBER,
                    "of": NUMBER,
                    "function": MAYBE_TEXT,
                    "direction": _one_of(Direction),
                    "state": _one_of(TaskState),
                    "attempt": NUMBER,
                }
            )
        ),
        "description": f"What is being done, undone or waited for (at most {MOST}): its place in its stage, and the "
        "step, queue or assignee behind it.",
    },
}
_TEMPLATE: Mapping[str, Schema] = {
    "id": ID,
    "workflow_name": TEXT,
    "component_name": TEXT,
    "version": NUMBER,
    "fingerprint": TEXT,
    "warnings": _list(ref("Fault")),
}
_NAME: Schema = bodies.NAME
_MESSAGE: Mapping[str, Schema] = {
    "business_ref_no": _NAME,
    "component_name": _NAME,
    "workflow_name": _NAME,
    "event_name": {
        "type": "string",
        "enum": ["StartWorkflow", "TaskStarted", "TaskCompleted", "TaskFailed", "TaskPending", "Signal"],
    },
    "stage_name": {**_NAME, "description": "Of messages about a task."},
    "task_name": {**_NAME, "description": "Of messages about a task."},
    "task_type": {"type": "string"},
    "event_id": {"type": "string", "description": "The sender's own id of the message: it counts once."},
    "attempt": {"type": "integer", "minimum": 1, "description": "The attempt that is meant; the newest if left out."},
    "compensation": {"type": "boolean", "description": "true: the answer to a CompensateTask."},
    "lease_id": {"type": "string", "description": "The lease under which the work was done."},
    "output": {"type": "object", "description": "Of TaskCompleted: merged into the context."},
    "error": {"type": "object", "description": "Of TaskFailed: code, message, details."},
    "retry": {"description": "Of TaskFailed: false gives up the remaining attempts."},
    "version": {"type": "integer", "minimum": 1, "description": "Of StartWorkflow: the template version."},
    "context": {"type": "object", "description": "Of StartWorkflow: what the instance knows at its start."},
    "name": {**_NAME, "description": "Of Signal."},
    "payload": {"description": "Of Signal."},
    "progress": {
        "type": "object",
        "properties": {
            "percent": {"type": ["number", "null"], "minimum": 0, "maximum": 100},
            "message": {"type": ["string", "null"], "maxLength": MESSAGE_LENGTH},
        },
        "description": "Of TaskStarted: how far the work is. Shown in place of what was said before; no event.",
    },
    "traceparent": {
        "description": "The W3C trace context of the sender, in place of the header; ignored when unreadable."
    },
    "tracestate": {"description": "Belongs to it."},
}
_NEEDED = ("business_ref_no", "component_name", "event_name")
_DECIMAL: Schema = {"type": "number", "minimum": 0}
_RATE: Schema = _object({"last_5_minutes": _DECIMAL, "last_60_minutes": _DECIMAL}, about="Messages a minute.")
_BROKER: Schema = _object(
    {"used": FLAG, "error": MAYBE_TEXT}, about="`error`: the broker does not answer, so that depths are our own."
)
_RATES_OVER: Schema = _object(
    {"in_seconds": _DECIMAL, "out_seconds": _DECIMAL},
    about="How far back the rates were read: less than an hour where more happened than is looked at.",
)
_LIMITS: Mapping[str, Schema] = {
    "max_in_flight": {
        "type": ["integer", "null"],
        "minimum": 1,
        "description": "So many attempts at most are sent and not answered.",
    },
    "max_per_second": {
        "type": ["number", "null"],
        "exclusiveMinimum": 0,
        "description": "So many messages a second at most are sent.",
    },
    "in_flight": {
        "type": ["integer", "null"],
        "minimum": 0,
        "description": "Attempts that are sent and not answered; null where that is not limited.",
    },
    "line": {**NUMBER, "description": "Attempts that wait in the line; at least so many where `line_is_least`."},
    "line_is_least": FLAG,
    "oldest_in_line_at": MAYBE_MOMENT,
    "changed_by": TEXT,
    "changed_at": MOMENT,
}
_QUEUE: Mapping[str, Schema] = {
    "queue": TEXT,
    "use": {
        "type": "string",
        "enum": ["work", "steps", "inbound", "dead"],
        "description": "Work for services; steps inside this site; what services report; dead letters.",
    },
    "depth": {
        "type": ["integer", "null"],
        "minimum": 0,
        "description": "What waits: in the broker, else the attempts that nobody has taken; null: only a broker knows.",
    },
    "depth_from": {"type": "string", "enum": ["broker", "database"]},
    "depth_is_least": {"type": "boolean", "description": "Whether there may be more: it was not counted to the end."},
    "waiting": {**NUMBER, "description": "Live attempts that nobody has taken, as the database knows it."},
    "in_hand": {**NUMBER, "description": "Live attempts that a worker has leased or said to have started."},
    "oldest_at": MAYBE_MOMENT,
    "in_per_minute": _RATE,
    "out_per_minute": _RATE,
    "consumers": {"type": ["integer", "null"], "minimum": 0, "description": "null: only a broker knows."},
    "last_consumer": {
        "oneOf": [_object({"id": MAYBE_TEXT, "seen_at": MOMENT}), {"type": "null"}],
        "description": "Who was last seen to take or answer work; `id` null where a message did not say.",
    },
    "unsent": {**NUMBER, "description": "Messages to this queue that are to be sent; those in its line are not."},
    "limits": {"oneOf": [ref("QueueLimits"), {"type": "null"}]},
    "line_takes_seconds": {
        "type": ["number", "null"],
        "minimum": 0,
        "description": "How long what is in the line will take at the pace of the last minutes; null: nobody knows.",
    },
}
_WORK: Schema = _object(
    {
        "instance_id": ID,
        "business_ref_no": TEXT,
        "stage_name": TEXT,
        "task_name": TEXT,
        "attempt": NUMBER,
        "compensation": FLAG,
        "offered_at": MAYBE_MOMENT,
        "started_at": MAYBE_MOMENT,
        "worker_id": MAYBE_TEXT,
        "lease_until": MAYBE_MOMENT,
    }
)
_QUARANTINED: Mapping[str, Schema] = {
    "id": NUMBER,
    "state": _one_of(QuarantineState),
    "resolved_by": MAYBE_TEXT,
    "resolved_at": MAYBE_MOMENT,
    "resolution": MAYBE_TEXT,
}
_HOLDER: Schema = {
    "oneOf": [
        _object({"instance_id": ID, "component_name": TEXT, "workflow_name": TEXT, "business_ref_no": TEXT}),
        {"type": "null"},
    ],
    "description": "The instance that holds it.",
}
_SUBSCRIPTION: Mapping[str, Schema] = {
    "id": ID,
    "product": TEXT,
    "customer": TEXT,
    "status": _one_of(SubscriptionStatus),
    "in_sync": FLAG,
    "holder": _HOLDER,
    "held_since": MAYBE_MOMENT,
    "version": NUMBER,
    "values": OBJECT,
    "note": TEXT,
    "active_since": MAYBE_MOMENT,
    "terminated_at": MAYBE_MOMENT,
    "created_at": MOMENT,
    "updated_at": MOMENT,
}

_NUMBER_OR_NULL: Schema = {"type": ["number", "null"], "exclusiveMinimum": 0}
_REGISTERED: Mapping[str, Schema] = {
    "name": TEXT,
    "phase": _one_of(Phase),
    "before": _list(TEXT),
    "after": _list(TEXT),
    "task_queue": {"type": "string", "description": "The queue that its StartTask goes to."},
    "url": {"type": "string", "format": "uri", "description": "The address that this site calls."},
    "step": {"type": "string", "description": "A step of this site, by its dotted name."},
    "assigned_to": {"type": "string", "description": "A person or a group."},
    "filter": {"type": ["object", "null"], "description": "A filter policy on the search fields of the instance."},
    "retry": OBJECT,
    "timeout_seconds": _NUMBER_OR_NULL,
    "mandatory": FLAG,
    "on_failure": {"type": "string", "enum": ["halt", "rollback", "continue"]},
    "system": TEXT,
    "regulation": TEXT,
    "title": TEXT,
    "description": TEXT,
}
_WAYS = ("task_queue", "url", "step", "assigned_to")
_USE = _object(
    {"template_id": ID, "component_name": TEXT, "workflow_name": TEXT, "version": NUMBER, "stage_name": TEXT},
    about="A stage of the newest version of a workflow that runs this activity.",
)
_COUNTS = _object(
    {
        "in_progress": {**NUMBER, "description": "Plugins that have not answered yet."},
        "in_error": {**NUMBER, "description": "Plugins whose attempts are spent, of instances that have not ended."},
        "counted": {**FLAG, "description": "false: only the newest runs were looked at; there may be more."},
    }
)

SCHEMAS: Mapping[str, Any] = {
    "Fault": {
        **_object(
            {
                "pointer": {"type": "string", "description": "JSON pointer (RFC 6901) into the body."},
                "code": TEXT,
                "message": TEXT,
                "parameter": {"type": "string", "description": "The parameter of the address, where it is one."},
            },
            optional=("parameter",),
        )
    },
    "Problem": _object(
        {
            "type": {"type": "string", "format": "uri-reference"},
            "title": TEXT,
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "detail": TEXT,
            "code": {"type": "string", "examples": sorted(problems.STATUS)},
            "request_id": TEXT,
            "errors": _list(ref("Fault")),
            "outcome": {"type": "string", "const": "refused"},
            "reason": MAYBE_TEXT,
            "instance": _INSTANCE_NOW,
            "subscription_id": {"type": "string", "format": "uuid", "description": "Of `subscription_held`: which."},
            "holder": _HOLDER,
            "used_by": {**_list(ID), "description": "Of `subscription_in_use`: those that use it."},
        },
        optional=("errors", "outcome", "reason", "instance", "subscription_id", "holder", "used_by"),
        about="RFC 9457. `code` says what went wrong in one word; a refusal by the state has `outcome`, `reason` and "
        "`instance`, too.",
    ),
    "TemplateDefinition": {
        "type": "object",
        "description": "A workflow template.",
        "properties": {
            "workflow_name": _NAME,
            "component_name": _NAME,
            "stages": {
                "type": "array",
                "minItems": 1,
                "items": {
                    "type": "object",
                    "properties": {
                        "stage_name": _NAME,
                        "stage_order": {"type": "number"},
                        "kind": {
                            "type": "string",
                            "const": ACTIVITY_KIND,
                            "description": "Its work is done by plugins.",
                        },
                        "activity": {
                            **_NAME,
                            "description": "Of that kind: the activity; the stage's name if left out.",
                        },
                        "tasks": {
                            "type": "array",
                            "items": {
                                "type": "object",
                                "properties": {
                                    "task_name": _NAME,
                                    "task_type": {"type": "string", "enum": ["SERVICE", "HUMAN", "STEP"]},
                                    "parent_task": {"type": "array", "items": {"type": "string"}},
                                    "task_queue": _NAME,
                                },
                                "required": ["task_name", "task_type"],
                            },
                        },
                    },
                    "required": ["stage_name", "stage_order"],
                },
            },
            "search": {
                "type": "object",
                "description": "What instances are found by: names, each with a JSON pointer into the context.",
                "maxProperties": search.MAX_FIELDS,
                "propertyNames": {"pattern": f"^{search.NAME}$", "maxLength": search.MAX_NAME_LENGTH},
                "additionalProperties": {
                    "type": "string",
                    "pattern": f"^{search.POINTER}$",
                    "maxLength": search.MAX_POINTER_LENGTH,
                },
            },
            "target": {**_one_of(Target), "description": "What it does to the subscription that a start names."},
            "runs_out_of_sync": {"type": "boolean", "description": "It may run beside whoever holds the subscription."},
            "products": {"type": "array", "items": _NAME, "description": "The products it is for; all if left out."},
        },
        "required": ["workflow_name", "component_name", "stages"],
    },
    "PublishedTemplate": _object(_TEMPLATE),
    "TemplateSummary": _object({**_TEMPLATE, "published_by": TEXT, "created_at": MOMENT}),
    "Template": _object({**_TEMPLATE, "published_by": TEXT, "created_at": MOMENT, "definition": OBJECT}),
    "TemplatePage": _page("TemplateSummary"),
    "TemplateCheck": _object({"valid": {"type": "boolean", "const": True}, "warnings": _list(ref("Fault"))}),
    "Instance": _object(
        {**_INSTANCE, **_WHERE, "context": OBJECT, "search": _SEARCH, **_MOMENTS, "stages": _list(_STAGE)}
    ),
    "InstanceSummary": _object(
        {
            **_INSTANCE,
            "health": TEXT,
            "stage": MAYBE_TEXT,
            "has_failed_task": FLAG,
            "context": OBJECT,
            "search": _SEARCH,
            **_MOMENTS,
        }
    ),
    "InstancePage": _page("InstanceSummary"),
    "Event": _object(
        {
            "sequence": {"type": "integer", "minimum": 1},
            "event": TEXT,
            "occurred_at": MOMENT,
            "actor": TEXT,
            "cause": MAYBE_TEXT,
            "stage_name": MAYBE_TEXT,
            "task_name": MAYBE_TEXT,
            "attempt": {"type": ["integer", "null"]},
            "data": ANYTHING,
        }
    ),
    "EventPage": _page("Event"),
    "OutboundMessage": _object(
        {
            "message_id": ID,
            "event_name": TEXT,
            "queue": TEXT,
            "stage_name": TEXT,
            "task_name": TEXT,
            "attempt": NUMBER,
            "payload": OBJECT,
            "state": _one_of(MessageState),
            "created_at": MOMENT,
            "sent_at": MAYBE_MOMENT,
        }
    ),
    "MessagePage": _page("OutboundMessage"),
    "Message": {
        "type": "object",
        "properties": dict(_MESSAGE),
        "required": list(_NEEDED),
        "allOf": [
            _where_event(["TaskStarted", "TaskCompleted", "TaskFailed", "TaskPending"], "stage_name", "task_name"),
            _where_event(["Signal"], "name"),
        ],
    },
    "AnyMessage": {"description": "A Message. What cannot be read gets its own 400 in `results`."},
    "Outcome": _object(
        {
            "outcome": {"type": "string", "enum": ["applied", "duplicate"]},
            "reason": MAYBE_TEXT,
            "instance": _INSTANCE_NOW,
        }
    ),
    "BatchOutcome": _object(
        {
            "results": _list(
                {
                    "oneOf": [
                        _object(
                            {
                                "status": {"type": "integer", "const": 200},
                                "outcome": {"type": "string", "enum": ["applied", "duplicate"]},
                                "reason": MAYBE_TEXT,
                                "instance": _INSTANCE_NOW,
                            }
                        ),
                        ref("Problem"),
                    ]
                }
            )
        }
    ),
    "LeasedTask": {
        **_object(
            {
                "business_ref_no": TEXT,
                "component_name": TEXT,
                "workflow_name": TEXT,
                "event_name": {"type": "string", "enum": ["StartTask", "CompensateTask"]},
                "stage_name": TEXT,
                "task_name": TEXT,
                "task_type": TEXT,
                "attempt": NUMBER,
                "instance_id": ID,
                "message_id": TEXT,
                "context": OBJECT,
                "lease_id": ID,
                "lease_until": MOMENT,
            }
        ),
        "description": "The StartTask or CompensateTask as it would be sent, extra fields included, with its lease.",
    },
    "AnyObject": {"description": "Whatever there is to say."},
    "Accepted": _object({"accepted": FLAG}),
    "LeasedTasks": _object({"tasks": _list(ref("LeasedTask"))}),
    "Lease": _object({"lease_id": ID, "lease_until": MOMENT}),
    "HumanTask": _object(
        {
            "id": ID,
            "instance_id": ID,
            "business_ref_no": TEXT,
            "component_name": TEXT,
            "workflow_name": TEXT,
            "stage_name": TEXT,
            "task_name": TEXT,
            "title": MAYBE_TEXT,
            "description": MAYBE_TEXT,
            "state": _one_of(TaskState),
            "attempt": NUMBER,
            "assigned_to": MAYBE_TEXT,
            "claimed_by": MAYBE_TEXT,
            "due_at": MAYBE_MOMENT,
            "compensation": FLAG,
            "outcomes": _list(OBJECT),
            "form": MAYBE_OBJECT,
            "context": OBJECT,
            "why": MAYBE_TEXT,
        }
    ),
    "HumanTaskDetail": {
        "allOf": [ref("HumanTask"), _object({"history": _list(ref("Event"))})],
        "description": "With the newest events of the task.",
    },
    "HumanTaskPage": _page("HumanTask"),
    "QuarantinedMessage": _object(
        {
            "id": NUMBER,
            "received_at": MOMENT,
            "source": TEXT,
            "message_id": TEXT,
            "body": TEXT,
            "body_bytes": NUMBER,
            "code": TEXT,
            "reason": TEXT,
            "state": _one_of(QuarantineState),
            "resolved_by": MAYBE_TEXT,
            "resolved_at": MAYBE_MOMENT,
            "resolution": MAYBE_TEXT,
        }
    ),
    "QuarantinePage": _page("QuarantinedMessage"),
    "QuarantineOutcomes": _object(
        {
            "results": _list(
                {
                    "oneOf": [
                        _object({"status": {"type": "integer", "const": 200}, **_QUARANTINED}),
                        {"allOf": [ref("Problem"), _object({"id": NUMBER})]},
                    ]
                }
            ),
            "left": {"type": "boolean", "description": "Whether more match than were seen to."},
        },
        about="One result for each message: of `ids` in their order, of `matching` oldest first.",
    ),
    "Product": _object(
        {
            "id": ID,
            "name": TEXT,
            "tag": TEXT,
            "description": TEXT,
            "values_schema": OBJECT,
            "fixed_inputs": OBJECT,
            "created_at": MOMENT,
            "updated_at": MOMENT,
        }
    ),
    "ProductPage": _page("Product"),
    "SubscriptionSummary": _object(_SUBSCRIPTION),
    "SubscriptionPage": _page("SubscriptionSummary"),
    "Subscription": _object({**_SUBSCRIPTION, "fixed_inputs": OBJECT, "depends_on": _list(ID), "in_use_by": _list(ID)}),
    "SubscriptionVersion": _object(
        {
            "version": NUMBER,
            "values": OBJECT,
            "status": _one_of(SubscriptionStatus),
            "instance_id": ID,
            "stage_name": TEXT,
            "task_name": TEXT,
            "attempt": NUMBER,
            "compensation": FLAG,
            "created_at": MOMENT,
        }
    ),
    "SubscriptionVersionPage": _page("SubscriptionVersion"),
    "SubscriptionDiff": _object(
        {
            "before": ref("SubscriptionVersion"),
            "after": ref("SubscriptionVersion"),
            "differences": _list(
                _object(
                    {
                        "pointer": {"type": "string", "description": "JSON pointer into the values."},
                        "kind": {"type": "string", "enum": ["added", "removed", "changed"]},
                        "before": ANYTHING,
                        "after": ANYTHING,
                    }
                )
            ),
        }
    ),
    "SubscriptionEvent": _object(
        {
            "kind": _one_of(SubscriptionEventKind),
            "occurred_at": MOMENT,
            "actor": TEXT,
            "instance_id": {"type": ["string", "null"], "format": "uuid"},
            "reason": TEXT,
            "data": OBJECT,
        }
    ),
    "SubscriptionEventPage": _page("SubscriptionEvent"),
    "SubscriptionWorkflows": _object(
        {
            "results": _list(
                _object(
                    {
                        "template_id": ID,
                        "component_name": TEXT,
                        "workflow_name": TEXT,
                        "version": NUMBER,
                        "target": _one_of(Target),
                        "may_start": FLAG,
                        "beside": {
                            "type": "boolean",
                            "description": "It would run beside whoever holds it, and could not change it.",
                        },
                        "code": MAYBE_TEXT,
                        "reason": MAYBE_TEXT,
                        "holder": _HOLDER,
                    }
                )
            )
        }
    ),
    "PluginDefinition": {
        **_object(
            {
                **_REGISTERED,
                "secret": {"type": "string", "maxLength": 200, "description": "Signs calls; never shown. '': none."},
                "reason": {"type": "string", "maxLength": 2_000, "description": "Why; it is kept in the history."},
            },
            optional=tuple(set(_REGISTERED) - {"phase"} | {"secret", "reason"}),
            about="One of `task_queue`, `url`, `step`, `assigned_to`. Null counts as absent; unknown keys are faults.",
        ),
        "additionalProperties": False,
    },
    "Plugin": _object(
        {
            **_REGISTERED,
            "signed": {**FLAG, "description": "Whether calls are signed with a secret."},
            "revision": {**NUMBER, "description": "The activity's revision when it was last changed."},
            "registered_by": TEXT,
            "registered_at": MOMENT,
            "changed_by": TEXT,
            "changed_at": MOMENT,
        },
        optional=_WAYS,
    ),
    "PluginPage": _page("Plugin"),
    "ActivitySummary": _object(
        {
            "name": TEXT,
            "revision": {**NUMBER, "description": "How often its plugins were changed."},
            "plugins": _object({str(phase): NUMBER for phase in Phase}),
            "workflows": _list(_USE),
            "runs": _COUNTS,
        }
    ),
    "ActivityPage": _page("ActivitySummary"),
    "Activity": _object(
        {
            "name": TEXT,
            "revision": NUMBER,
            "plugins": {**_list(ref("Plugin")), "description": "In the order in which they run."},
            "workflows": _list(_USE),
            "runs": _COUNTS,
        }
    ),
    "ActivityRecord": _object(
        {
            "revision": NUMBER,
            "kind": _one_of(ActivityRecordKind),
            "plugin": TEXT,
            "at": MOMENT,
            "actor": TEXT,
            "reason": TEXT,
            "before": MAYBE_OBJECT,
            "after": MAYBE_OBJECT,
        }
    ),
    "ActivityRecordPage": _page("ActivityRecord"),
    "ExpectedPlugins": _object(
        {
            "attributes": OBJECT,
            "plugins": _list(
                _object(
                    {
                        "name": TEXT,
                        "phase": _one_of(Phase),
                        "mandatory": FLAG,
                        "takes_part": FLAG,
                        "reason": {"type": "string", "description": "What keeps it out; empty where it takes part."},
                    }
                )
            ),
        }
    ),
    "Queue": _object(_QUEUE),
    "QueueLimits": _object(_LIMITS, about="How a queue with limits stands."),
    "QueuePage": _object(
        {
            "results": _list(ref("Queue")),
            "next": _LINK,
            "previous": _LINK,
            "broker": _BROKER,
            "rates_over": _RATES_OVER,
        }
    ),
    "QueueState": _object(
        {
            **_QUEUE,
            "held": _list(_WORK),
            "oldest": _list(_WORK),
            "unsent_because": _list(
                _object(
                    {
                        "reason": _one_of(Why),
                        "error": TEXT,
                        "count": NUMBER,
                        "oldest_at": MOMENT,
                        "tries": NUMBER,
                        "next_try_at": MOMENT,
                    }
                )
            ),
            "broker": _BROKER,
            "rates_over": _RATES_OVER,
        },
        about="With the work that is longest in somebody's hand, that waits longest, and why messages are not sent.",
    ),
    "UnsentMessage": _object(
        {
            "message_id": ID,
            "instance_id": ID,
            "event_name": TEXT,
            "queue": TEXT,
            "stage_name": TEXT,
            "task_name": TEXT,
            "attempt": NUMBER,
            "reason": _one_of(Why),
            "error": TEXT,
            "tries": NUMBER,
            "created_at": MOMENT,
            "next_try_at": MOMENT,
        }
    ),
    "UnsentPage": _page("UnsentMessage"),
    "Engine": _object(
        {
            "state": {**_one_of(EngineState), "description": "PAUSING: paused, and some steps still run."},
            "paused_at": MAYBE_MOMENT,
            "paused_by": MAYBE_TEXT,
            "reason": MAYBE_TEXT,
            "running_steps": {**NUMBER, "description": "In-process steps that still run, while it is paused."},
            "retry": {"oneOf": [ref("BulkRetry"), {"type": "null"}]},
        }
    ),
    "BulkRetry": _object(
        {
            "id": ID,
            "asked_by": TEXT,
            "asked_at": MOMENT,
            "reason": TEXT,
            "filters": OBJECT,
            "count": {**NUMBER, "description": "How many instances are meant."},
            "done": {**NUMBER, "description": "How many were seen to."},
            "retried": NUMBER,
            "refused": {**NUMBER, "description": "Could not be retried; the history of each says why."},
            "finished_at": MAYBE_MOMENT,
            "left": {**FLAG, "description": "Whether more match than were asked for; only in the first answer."},
        },
        optional=("left",),
    ),
    "ControlRecord": _object(
        {
            "at": MOMENT,
            "actor": TEXT,
            "action": TEXT,
            "subject": MAYBE_TEXT,
            "reason": MAYBE_TEXT,
            "data": MAYBE_OBJECT,
        }
    ),
    "ControlPage": _page("ControlRecord"),
    "Schedule": _object(
        {
            "id": NUMBER,
            "name": TEXT,
            "enabled": FLAG,
            "component_name": TEXT,
            "workflow_name": MAYBE_TEXT,
            "version": {"type": ["integer", "null"], "minimum": 1},
            "context": OBJECT,
            "reference": TEXT,
            "cron": MAYBE_TEXT,
            "interval_seconds": {"type": ["integer", "null"], "minimum": 1},
            "time_zone": TEXT,
            "misfire": _one_of(Misfire),
            "next_runs": {**_list(MOMENT), "description": "The next starts; none while it is disabled."},
            "last_run": {
                "oneOf": [
                    _object({"at": MOMENT, "outcome": TEXT, "reason": MAYBE_TEXT, "instance_id": MAYBE_TEXT}),
                    {"type": "null"},
                ]
            },
            "changed_by": TEXT,
            "changed_at": MOMENT,
        }
    ),
    "SchedulePage": _page("Schedule"),
    "Me": _object(
        {
            "username": TEXT,
            "groups": _list(TEXT),
            "roles": _list(TEXT),
            "admin": FLAG,
            "scopes": {"type": ["array", "null"], "items": {"type": "string"}},
        }
    ),
}
