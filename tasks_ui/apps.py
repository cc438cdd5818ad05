"""The pages app."""

from django.apps import AppConfig


class TasksUiConfig(AppConfig):
    """Register templates and template tags; the app has no models."""

    name = "tasks_ui"
    label = "tasks_ui"
    verbose_name = "Pages"
    default_auto_field = "django.db.models.BigAutoField"
