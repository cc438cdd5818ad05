"""Pointers, and the order in which problems are told."""

from workflows.definitions.problems import InvalidTemplate, Problem, below, in_document_order


def test_a_pointer_is_escaped_as_rfc_6901_says():
    assert below("/a", "b/c", 3, "d~e", "", "~1") == "/a/b~1c/3/d~0e//~01"
    assert below("") == ""


def test_entries_are_told_by_number():
    problems = [Problem(f"/stages/{n}", "x", "") for n in (10, 2)] + [Problem("", "x", "")]

    assert [problem.pointer for problem in in_document_order(problems)] == ["", "/stages/2", "/stages/10"]


def test_the_exception_says_the_first_of_its_problems():
    error = InvalidTemplate([Problem("/a", "required", "a is required.")])

    assert str(error) == "/a: a is required."
