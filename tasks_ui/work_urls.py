"""The addresses of the pages for work: inbox, tasks, templates, starting."""

from django.urls import URLPattern, URLResolver, path

from tasks_ui import inbox, start, task, templates

urlpatterns: list[URLPattern | URLResolver] = [
    path("inbox/", inbox.inbox, name="inbox"),
    path("tasks/<uuid:pk>/", task.task, name="task"),
    path("tasks/<uuid:pk>/<str:verb>/", task.act, name="task_act"),
    path("templates/", templates.templates, name="templates"),
    path("templates/publish/", templates.publish, name="publish"),
    path("templates/<uuid:pk>/", templates.template, name="template"),
    path("start/", start.start, name="start"),
    path("start/<uuid:pk>/", start.start_one, name="start_one"),
]
