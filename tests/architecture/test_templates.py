"""Pages keep to the content security policy: no script, style or handler inside the text."""

import re

import pytest

from tests.tree import ROOT

TEMPLATES = sorted((ROOT / "templates").rglob("*.html")) + sorted((ROOT / "tasks_ui").rglob("*.html"))

FORBIDDEN = {
    # A block of data is not run; a script with a source comes from us.
    "inline script": re.compile(
        r"<script(?![^>]*\bsrc=)(?![^>]*\btype=[\"']application/(?:json|ld\+json)[\"'])", re.IGNORECASE
    ),
    "inline style": re.compile(r"<style\b|<[a-z][^<>]*\sstyle\s*=", re.IGNORECASE),
    "handler attribute": re.compile(r"<[a-z][^<>]*\s(?:on[a-z]+|hx-on[:a-z-]*)\s*=", re.IGNORECASE),
    "javascript address": re.compile(r"javascript:", re.IGNORECASE),
    "foreign source": re.compile(
        r"(?:src|href)\s*=\s*[\"'](?:https?:)?//(?![^\"']*\{)[^\"']*\.(?:js|css|woff2?)", re.IGNORECASE
    ),
    "text marked safe": re.compile(r"\|\s*safe\b|autoescape\s+off"),
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_templates_hold_no(what):
    found = []
    for path in TEMPLATES:
        text = re.sub(r"\{#.*?#\}|\{% comment %\}.*?\{% endcomment %\}", "", path.read_text(), flags=re.DOTALL)
        found += [f"{path.relative_to(ROOT)}: {match.group()[:80]}" for match in FORBIDDEN[what].finditer(text)]

    assert found == []


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("inline script", "<script>alert(1)</script>"),
        ("inline script", "<script type='module'>import 'x'</script>"),
        ("inline style", '<p class="a" style="color: red">'),
        ("inline style", "<style>p {}</style>"),
        ("handler attribute", '<a href="#" onclick="go()">'),
        ("handler attribute", '<a hx-on:click="go()">'),
        ("javascript address", '<a href="javascript:go()">'),
        ("foreign source", '<script src="https://cdn.example.org/x.js">'),
        ("text marked safe", "{{ name|safe }}"),
    ],
)
def test_the_rules_are_able_to_fail(what, text):
    assert FORBIDDEN[what].search(text)


@pytest.mark.parametrize(
    "text",
    [
        "<script src=\"{% static 'a.js' %}\" defer></script>",
        '<script type="application/json" id="x">{}</script>',
        '<button type="button" data-action="go">',
        '<option value="1">one = 1</option>',
    ],
)
def test_the_rules_let_pass(text):
    assert not [what for what, rule in FORBIDDEN.items() if rule.search(text)]
