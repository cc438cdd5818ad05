"""Whatever is below the API's address and does not exist."""

from __future__ import annotations

from workflows.api.base import ApiView


class Nothing(ApiView):
    """The end of the list of routes: 401 for strangers, 404 for everybody else."""

    schema = None
