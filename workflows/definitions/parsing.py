"""The front door: a template comes in as JSON and goes out as a definition, or with every problem at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from workflows.definitions.hints import warnings_about
from workflows.definitions.outline import outline_of
from workflows.definitions.problems import InvalidTemplate, Problem, TemplateWarning, in_document_order
from workflows.definitions.reading import read_definition
from workflows.definitions.schema import Json, WorkflowDefinition
from workflows.definitions.shape import check_shape
from workflows.definitions.soundness import check_soundness

__all__ = ["ParsedTemplate", "parse_template", "problems_of", "read_definition"]


@dataclass(frozen=True, slots=True)
class ParsedTemplate:
    """A template that may be published, and what its author should still look at."""

    definition: WorkflowDefinition
    warnings: tuple[TemplateWarning, ...]


def parse_template(value: Json, *, known_assignee: Callable[[str], bool] | None = None) -> ParsedTemplate:
    """This will give the definition and the warnings, or raise InvalidTemplate with every problem.

    Without `known_assignee` nobody is asked whether people exist. The value is one that `strict_json` let through.
    """
    problems = problems_of(value)
    if problems:
        raise InvalidTemplate(problems)
    warnings = tuple(warnings_about(value, known_assignee=known_assignee))
    return ParsedTemplate(definition=read_definition(value), warnings=warnings)


def problems_of(value: Json) -> tuple[Problem, ...]:
    """This will give everything that is wrong with a template, in the order of the document."""
    return in_document_order([*check_shape(value), *check_soundness(outline_of(value))])
