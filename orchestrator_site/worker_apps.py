"""Apps of Django of which a worker needs the tables only: not what they do about migrations and at signing in."""

from django.apps import AppConfig


class Auth(AppConfig):
    """People and groups."""

    name = "django.contrib.auth"
    default_auto_field = "django.db.models.AutoField"


class ContentTypes(AppConfig):
    """The names of tables."""

    name = "django.contrib.contenttypes"
    default_auto_field = "django.db.models.AutoField"
