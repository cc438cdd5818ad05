"""The addresses of the pages, all of them on one screen.

The pages for work stand in `work_urls`: `inbox/` (inbox), `tasks/<uuid>/…` (task, …), `templates/…` (templates, …) and
`start/…` (start).
"""

from django.urls import URLPattern, URLResolver, include, path

from tasks_ui import (
    activities,
    engine,
    instance,
    instances,
    overview,
    quarantine,
    queues,
    rail,
    schedules,
    search,
    signin,
    subscriptions,
)

urlpatterns: list[URLPattern | URLResolver] = [
    path("", overview.overview, name="overview"),
    path("signin/", signin.signin, name="signin"),
    path("signout/", signin.signout, name="signout"),
    path("rail/", rail.rail, name="rail"),
    path("search/", search.search, name="search"),
    path("instances/", instances.instances, name="instances"),
    path("instances/<uuid:pk>/", instance.instance, name="instance"),
    path("instances/<uuid:pk>/act/", instance.act, name="act"),
    path("queues/", queues.queues, name="queues"),
    # A queue's name may hold a slash.
    path("queues/<path:name>/limits/", queues.queue_limits, name="queue_limits"),
    path("queues/<path:name>/", queues.queue, name="queue"),
    path("engine/", engine.engine, name="engine"),
    path("engine/pause/", engine.pause, name="engine_pause"),
    path("engine/resume/", engine.resume, name="engine_resume"),
    path("engine/retry-failed/", engine.retry_failed, name="engine_retry_failed"),
    path("engine/schedules/add/", schedules.add_schedule, name="add_schedule"),
    path("engine/schedules/<int:pk>/", engine.switch_schedule, name="switch_schedule"),
    path("subscriptions/", subscriptions.subscriptions, name="subscriptions"),
    path("subscriptions/<uuid:pk>/", subscriptions.subscription, name="subscription"),
    path("subscriptions/<uuid:pk>/unlock/", subscriptions.subscription_unlock, name="subscription_unlock"),
    path("subscriptions/<uuid:pk>/note/", subscriptions.subscription_note, name="subscription_note"),
    path("activities/", activities.activities, name="activities"),
    path("activities/<str:name>/", activities.activity, name="activity"),
    path("plugins/register/", activities.register, name="plugin_register"),
    path("plugins/deregister/", activities.deregister, name="plugin_deregister"),
    path("quarantine/", quarantine.quarantine, name="quarantine"),
    path("quarantine/see-to/", quarantine.see_to, name="see_to"),
    path("quarantine/<int:pk>/", quarantine.quarantined, name="quarantined"),
    path("quarantine/<int:pk>/resubmit/", quarantine.resubmit, name="resubmit"),
    path("quarantine/<int:pk>/discard/", quarantine.discard, name="discard"),
    path("", include("tasks_ui.work_urls")),
]
