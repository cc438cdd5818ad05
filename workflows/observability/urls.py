"""The addresses that monitors ask: health, readiness, metrics."""

from django.urls import URLPattern, URLResolver, path

from workflows.observability import health, scrape

urlpatterns: list[URLPattern | URLResolver] = [
    path("healthz", health.alive, name="healthz"),
    path("readyz", health.ready, name="readyz"),
    path("metrics", scrape.scrape, name="metrics"),
]
