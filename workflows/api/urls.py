"""The addresses of the HTTP API, below `/api/v1/`. Who may use them: `permissions`."""

from django.urls import URLPattern, URLResolver, path, re_path

from workflows.api import (
    actions,
    callbacks,
    docs,
    events,
    history,
    human_tasks,
    instances,
    me,
    nothing,
    outbox,
    products,
    quarantine,
    quarantine_bulk,
    queue_states,
    queues,
    schema,
    subscriptions,
    templates,
)

app_name = "api"

_INSTANCE = "instances/<str:instance_id>/"
_TASK = f"{_INSTANCE}tasks/<str:stage_name>/<str:task_name>/"
_HUMAN_TASK = "human-tasks/<str:human_task_id>/"
_SUBSCRIPTION = "subscriptions/<str:subscription_id>/"
_QUARANTINED = "quarantine/<int:message_id>/"

urlpatterns: list[URLPattern | URLResolver] = [
    path("templates/", templates.Templates.as_view(), name="templates"),
    path("templates/validate/", templates.TemplateCheck.as_view(), name="templates-validate"),
    path("templates/<str:template_id>/", templates.Template.as_view(), name="template"),
    path("instances/", instances.Instances.as_view(), name="instances"),
    path(_INSTANCE, instances.Instance.as_view(), name="instance"),
    path(f"{_INSTANCE}history/", history.History.as_view(), name="instance-history"),
    path(f"{_INSTANCE}commands/", history.Commands.as_view(), name="instance-commands"),
    path(f"{_INSTANCE}suspend/", actions.SuspendInstance.as_view(), name="instance-suspend"),
    path(f"{_INSTANCE}resume/", actions.ResumeInstance.as_view(), name="instance-resume"),
    path(f"{_INSTANCE}cancel/", actions.CancelInstance.as_view(), name="instance-cancel"),
    path(f"{_INSTANCE}rollback/", actions.RollBackInstance.as_view(), name="instance-rollback"),
    path(f"{_TASK}retry/", actions.RetryTask.as_view(), name="task-retry"),
    path(f"{_TASK}skip/", actions.SkipTask.as_view(), name="task-skip"),
    path(f"{_TASK}complete/", actions.CompleteTask.as_view(), name="task-complete"),
    path(f"{_TASK}fail/", actions.FailTask.as_view(), name="task-fail"),
    path(f"{_TASK}replay/", actions.ReplayTask.as_view(), name="task-replay"),
    path(f"{_INSTANCE}stages/<str:stage_name>/replay/", actions.ReplayStage.as_view(), name="stage-replay"),
    path("events/", events.Events.as_view(), name="events"),
    path("events/batch/", events.EventBatch.as_view(), name="events-batch"),
    path("callbacks/<str:token>/", callbacks.Callback.as_view(), name="callback"),
    path("callbacks/<str:token>/progress/", callbacks.CallbackProgress.as_view(), name="callback-progress"),
    path("outbox/", outbox.Outbox.as_view(), name="outbox"),
    path("queues/", queue_states.Queues.as_view(), name="queues"),
    # A queue's name may hold a slash.
    path("queues/<path:queue>/lease/", queues.QueueLease.as_view(), name="queue-lease"),
    path("queues/<path:queue>/leases/<str:lease_id>/extend/", queues.LeaseExtension.as_view(), name="lease-extend"),
    path("queues/<path:queue>/", queue_states.QueueState.as_view(), name="queue"),
    path("human-tasks/", human_tasks.HumanTasks.as_view(), name="human-tasks"),
    path(_HUMAN_TASK, human_tasks.HumanTaskDetail.as_view(), name="human-task"),
    path(f"{_HUMAN_TASK}claim/", human_tasks.ClaimHumanTask.as_view(), name="human-task-claim"),
    path(f"{_HUMAN_TASK}release/", human_tasks.ReleaseHumanTask.as_view(), name="human-task-release"),
    path(f"{_HUMAN_TASK}reassign/", human_tasks.ReassignHumanTask.as_view(), name="human-task-reassign"),
    path(f"{_HUMAN_TASK}complete/", human_tasks.CompleteHumanTask.as_view(), name="human-task-complete"),
    path(f"{_HUMAN_TASK}comment/", human_tasks.CommentHumanTask.as_view(), name="human-task-comment"),
    path("products/", products.Products.as_view(), name="products"),
    path("products/<str:product_id>/", products.ProductDetail.as_view(), name="product"),
    path("subscriptions/", subscriptions.Subscriptions.as_view(), name="subscriptions"),
    path(_SUBSCRIPTION, subscriptions.SubscriptionDetail.as_view(), name="subscription"),
    path(f"{_SUBSCRIPTION}versions/", subscriptions.SubscriptionVersions.as_view(), name="subscription-versions"),
    path(f"{_SUBSCRIPTION}diff/", subscriptions.SubscriptionDiff.as_view(), name="subscription-diff"),
    path(f"{_SUBSCRIPTION}history/", subscriptions.SubscriptionHistory.as_view(), name="subscription-history"),
    path(f"{_SUBSCRIPTION}workflows/", subscriptions.SubscriptionWorkflows.as_view(), name="subscription-workflows"),
    path(f"{_SUBSCRIPTION}unlock/", subscriptions.UnlockSubscription.as_view(), name="subscription-unlock"),
    path(f"{_SUBSCRIPTION}note/", subscriptions.NoteSubscription.as_view(), name="subscription-note"),
    path("quarantine/", quarantine.Quarantine.as_view(), name="quarantine"),
    path("quarantine/resubmit/", quarantine_bulk.ResubmitSeveral.as_view(), name="quarantine-resubmit"),
    path("quarantine/discard/", quarantine_bulk.DiscardSeveral.as_view(), name="quarantine-discard"),
    path(_QUARANTINED, quarantine.Quarantined.as_view(), name="quarantined"),
    path(f"{_QUARANTINED}resubmit/", quarantine.ResubmitQuarantined.as_view(), name="quarantined-resubmit"),
    path(f"{_QUARANTINED}discard/", quarantine.DiscardQuarantined.as_view(), name="quarantined-discard"),
    path("me/", me.Me.as_view(), name="me"),
    path("schema/", schema.Schema.as_view(), name="schema"),
    path("docs/", docs.Docs.as_view(), name="docs"),
    re_path(r"", nothing.Nothing.as_view(), name="nothing"),
]
