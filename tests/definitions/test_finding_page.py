"""What docs/finding.md shows is as the page says."""

import json
import re

from tests.tree import ROOT
from workflows.activities.filters import compile_policy
from workflows.definitions.parsing import parse_template


def test_its_template_and_its_policy_are_correct():
    template, policy = map(
        json.loads, re.findall(r"```json\n(.*?)```", (ROOT / "docs" / "finding.md").read_text(), re.DOTALL)
    )
    parsed = parse_template(template)
    assert list(parsed.warnings) == []
    assert set(parsed.definition.raw["search"]) == {"customer", "amount", "paid"}
    matches = compile_policy(policy).matches
    assert matches({"customer": "AC-1", "amount": 100, "paid": True})
    assert not matches({"customer": "ACME", "amount": 200, "paid": True})
    assert not matches({"customer": "EVIL", "amount": 150})
