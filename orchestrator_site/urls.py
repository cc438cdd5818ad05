"""All addresses of the site."""

from django.contrib import admin
from django.urls import include, path, re_path

from workflows.api.nothing import Nothing

urlpatterns = [
    path("admin/", admin.site.urls),
    path("api/v1/", include("workflows.api.urls")),
    # Programs ask below /api/: they get a problem document there too, not a page.
    re_path(r"^api(/|$)", Nothing.as_view(), name="nothing"),
    path("", include("workflows.observability.urls")),
    path("", include("tasks_ui.urls")),
]
