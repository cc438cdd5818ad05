"""The rows of the list of instances, written in one go.

There may be eighty of them with seventeen values each. Told to the template engine value by value they were more than
half of what the page costs the server; so this is the one table whose rows are not in a template.
"""

from __future__ import annotations

import html
import uuid
from collections.abc import Iterable, Iterator
from typing import Any

from django import template
from django.urls import reverse
from django.utils import timezone
from django.utils.safestring import SafeString, mark_safe

from tasks_ui.queries.instances import Row
from tasks_ui.templatetags.tasks_ui import age, badge, time_of

register = template.Library()

_NONE = "–"
_ANY = uuid.UUID(int=0)
_ROW = (
    '<tr id="i-{id}" data-row data-seq="{sequence}"><td>{badge}</td>'
    '<td><a class="ref" href="{address}">{reference}</a><br class="narrow-only">'
    '<span class="sub narrow-only">{workflow}{also}</span></td>'
    '<td class="opt2">{workflow} <span class="sub">v{version}</span></td>'
    '<td class="code opt">{stage}</td><td class="code opt">{business_status}</td>'
    '<td class="opt2 wide">{waits_for}</td><td class="num opt">{attempt}</td>'
    '<td class="num opt2">{age}</td><td class="num opt">{touched}</td></tr>'
)


@register.simple_tag
def instance_rows(rows: Iterable[Row]) -> SafeString:
    """This will write the rows of the table: `{% instance_rows rows %}`."""
    written = (_ROW.format_map({name: _escaped(value) for name, value in values.items()}) for values in _values(rows))
    return mark_safe("\n".join(written))  # noqa: S308 (every value is escaped)


def _escaped(value: object) -> str:
    # What `format_html` does, without asking each value whether it is to be translated.
    return value if isinstance(value, SafeString) else html.escape(str(value))


def _values(rows: Iterable[Row]) -> Iterator[dict[str, Any]]:
    # Once, not for each row.
    before, after = reverse("instance", args=[_ANY]).split(str(_ANY))
    now, zone = timezone.now(), timezone.get_current_timezone()
    for row in rows:
        yield {
            "id": row.id,
            "sequence": row.sequence,
            "badge": badge(row.sign),
            "address": f"{before}{row.id}{after}",
            "reference": row.reference,
            "workflow": row.workflow,
            "also": f" · {row.waits_for}" if row.waits_for else "",
            "version": row.version,
            "stage": row.stage or _NONE,
            "business_status": row.business_status or _NONE,
            "waits_for": row.waits_for or _NONE,
            "attempt": row.attempt or _NONE,
            "age": age(row.age),
            "touched": time_of(row.updated_at, now=now, zone=zone),
        }
