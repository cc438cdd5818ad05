"""Tags and filters of the pages: icons, state badges, times, lengths of time, numbers."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import urlencode

from django import template
from django.templatetags.static import static
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from tasks_ui import times, words
from tasks_ui.context import shell as values_of_shell
from tasks_ui.words import Sign

register = template.Library()


# --- The shell ----------------------------------------------------------------------------------------------------


@register.simple_tag(takes_context=True)
def shell(context: template.Context) -> dict[str, Any]:
    """This will give what every page shows around itself: who is signed in, counts for the rail."""
    return values_of_shell(context.get("request"))


# --- Icons and states ---------------------------------------------------------------------------------------------


# Kept, as a page draws the same few of them a hundred times. Typed: equal strings may be safe or not.
@register.simple_tag
@lru_cache(maxsize=500, typed=True)
def icon(name: str, label: str = "", extra: str = "") -> SafeString:
    """This will draw an icon of the sprite: `{% icon "failed" %}`; with a label it is an image with that name."""
    where = f"{static('icons.svg')}#{name}"
    kind = f"i {extra}" if extra else "i"
    if label:
        return format_html('<svg class="{}" role="img" aria-label="{}"><use href="{}"/></svg>', kind, label, where)
    return format_html('<svg class="{}" aria-hidden="true"><use href="{}"/></svg>', kind, where)


@register.simple_tag
def use(name: str) -> SafeString:
    """This will point at an icon of the sprite from inside an SVG of the page."""
    return format_html('<use href="{}#{}"/>', static("icons.svg"), name)


@register.simple_tag
@lru_cache(maxsize=500, typed=True)
def badge(sign: Sign, plain: bool = False, word: str = "") -> SafeString:
    """This will draw a badge: `{% badge row.sign %}`, `{% badge row.sign plain=True %}` inside tables."""
    return format_html(
        '<span class="badge{}" data-state="{}">{}{}</span>',
        " plain" if plain else "", sign.state, icon(sign.icon), word or sign.word,
    )  # fmt: skip


@register.simple_tag
def instance_badge(state: str, health: str = "", plain: bool = False) -> SafeString:
    """This will draw the badge of an instance: `{% instance_badge row.state row.health %}`."""
    return badge(words.instance_sign(state, health), plain)


@register.simple_tag
def stage_badge(state: str, plain: bool = False) -> SafeString:
    """This will draw the badge of a stage."""
    return badge(words.stage_sign(state), plain)


@register.simple_tag
def task_badge(state: str, kind: str = "SERVICE", holder: str | None = None, plain: bool = False) -> SafeString:
    """This will draw the badge of a task: `{% task_badge task.state "HUMAN" task.claimed_by %}`."""
    return badge(words.task_sign(state, kind, holder), plain)


@register.simple_tag
def due(at: dt.datetime | None, over: bool = False) -> SafeString | str:
    """This will say when something is due: red when it is late, amber within four hours."""
    if at is None:
        return ""
    left = at - timezone.now()
    state, prefix = "", "due"
    if not over and left < dt.timedelta(0):
        return format_html(
            '<span class="due" data-state="failed">{}<time datetime="{}" title="{}">{} overdue</time></span>',
            icon("clock"), at.isoformat(), times.exact(at), times.length(-left),
        )  # fmt: skip
    if not over and left < dt.timedelta(hours=4):
        state = "retrying"
    return format_html(
        '<span class="due"{}>{}<time datetime="{}" title="{}">{} {}</time></span>',
        format_html(' data-state="{}"', state) if state else "",
        icon("clock"), at.isoformat(), times.exact(at), prefix, times.moment(at, now=timezone.now(), seconds=False),
    )  # fmt: skip


# --- Times and numbers --------------------------------------------------------------------------------------------


@register.filter
def when(value: dt.datetime | None) -> SafeString | str:
    """This will write a moment: 14:05:12 today, Wed 14:05 this week, 9 Sep, else 9 Sep 2025; the zone in the title."""
    return time_of(value, now=timezone.now(), zone=timezone.get_current_timezone()) if value else "–"


def time_of(value: dt.datetime, *, now: dt.datetime, zone: dt.tzinfo) -> SafeString:
    """This will write a moment as `when` does; many of them need to look up the time and the zone only once."""
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        value.isoformat(), times.exact(value, zone=zone), times.moment(value, now=now, zone=zone),
    )  # fmt: skip


@register.filter
def lasting(value: dt.timedelta | float | None) -> str:
    """This will write a length of time: 40 s, 6 min 40 s, 4 h 53 min, 2 d 4 h."""
    return times.length(value)


@register.filter
def age(value: dt.timedelta | None) -> str:
    """This will write how old something is: 40 s, 6 min, 4 h 53 min."""
    return "–" if value is None else times.age(value)


@register.filter
def since(value: dt.datetime | None) -> str:
    """This will write how long ago a moment was."""
    return "–" if value is None else times.age(timezone.now() - value)


@register.filter
def number(value: int | None) -> str:
    """This will write a count: 1,284."""
    return "–" if value is None else f"{value:,}"


@register.filter
def rate(value: float) -> str:
    """This will write how much comes in a minute, as exactly as it is worth knowing: 1,284, 12.5, 0.03."""
    if value >= 100:
        return f"{value:,.0f}"
    digits = 1 if value >= 1 else 2
    return f"{value:.{digits}f}".rstrip("0").rstrip(".") or "0"


@register.filter
def per_second(value: float) -> str:
    """This will write how much may leave in a second, or how seldom: 2.5 a second, one every 10 s."""
    return f"{rate(value)} a second" if value >= 1 else f"one every {times.length(1 / value)}"


@register.filter
def capped(value: int | None, cap: int = 10_000) -> str:
    """This will write a count that was not counted to its end: 10k+."""
    if value is None:
        return "–"
    return f"{cap // 1000}k+" if value >= cap else f"{value:,}"


@register.filter
def readable(value: str) -> str:
    """This will write a technical name the way people do: `reserve_stock` is "Reserve stock"."""
    return words.readable(value)


@register.filter
def lower_first(value: str) -> str:
    """This will write a title inside a sentence; names in capitals stay."""
    return value if value[:2].isupper() else value[:1].lower() + value[1:]


@register.filter
def initials(value: str) -> str:
    """This will shorten a person's name to two letters."""
    parts = [part for part in value.replace(".", " ").replace("-", " ").replace("_", " ").split() if part]
    return ("".join(part[0] for part in parts[:2]) if len(parts) > 1 else value[:2]).upper()


@register.filter
def as_json(value: Any) -> str:
    """This will write a value as indented JSON."""
    return json.dumps(value, ensure_ascii=False, indent=2)


@register.filter
def item(values: Mapping[str, Any], key: str) -> Any:
    """This will look a key up."""
    return values.get(key)


@register.simple_tag(takes_context=True)
def query(context: template.Context, **changes: Any) -> str:
    """This will give the page's own query string with some parameters changed; None takes one out."""
    kept = [(name, value) for name, values in context["request"].GET.lists() if name not in changes for value in values]
    changed = [(name, str(value)) for name, value in changes.items() if value not in (None, "")]
    return "?" + urlencode(kept + changed)
