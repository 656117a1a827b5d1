"""The YAML parser's complaints in words that a newcomer can act on.

libyaml and the pure Python parser word the same complaint differently, hence pieces of both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from yaml.error import Mark, MarkedYAMLError


@dataclass(frozen=True, slots=True)
class Complaint:
    """What is wrong with the YAML, and where to look (0-based, as parsers count).

    Attributes:
        message: what is wrong.
        hint: what to do.
        mark: where to look first.
    """

    message: str
    hint: str
    mark: Mark | None


@dataclass(frozen=True, slots=True)
class _Explanation:
    """One known complaint.

    Attributes:
        pieces: the complaint has one of these words in it.
        message: what is wrong.
        hint: what to do.
        at_beginning: the mistake is where the broken thing begins, not where the parser gave up.
    """

    pieces: tuple[str, ...]
    message: str
    hint: str
    at_beginning: bool = False


_EXPLANATIONS = (
    _Explanation(
        ("tab character", "character '\\t'"),
        "found a tab, expected spaces",
        "YAML is indented with spaces only.",
    ),
    _Explanation(
        ("cannot start any token",),
        "found a character that no value can begin with (a tab, @, ` or %)",
        "Indent with spaces, and put quotation marks around such a value.",
    ),
    _Explanation(
        ("mapping values are not allowed",),
        "found a ':' where no key can be",
        "Is the line indented like its neighbours? Does the line above lack its ':' or the space"
        " after it? A value with ': ' in it needs quotation marks.",
    ),
    _Explanation(
        ("sequence entries are not allowed",),
        "found a '- ' where no list can begin",
        "Begin the list on a line of its own.",
    ),
    _Explanation(
        ("could not find expected ':'",),
        "found a line without a ':', expected 'key: value' or '- entry'",
        "Write a space after '-' and after ':', and indent the lines of a group alike.",
        at_beginning=True,
    ),
    _Explanation(
        ("unexpected end of stream",),
        "found an opening quotation mark without its closing one",
        "Close the quotation mark.",
        at_beginning=True,
    ),
    _Explanation(
        ("expected ',' or ']'",),
        "found a list opened with '[' that is not closed",
        "Close it with ']', and separate its items with ','.",
        at_beginning=True,
    ),
    _Explanation(
        ("expected ',' or '}'",),
        "found a group opened with '{' that is not closed",
        "Close it with '}', and separate its keys with ','.",
        at_beginning=True,
    ),
    _Explanation(
        ("expected '-' indicator", "expected key", "<block end>"),
        "found a line that does not fit the lines above it",
        "Indent it exactly like the group it belongs to; text after a closing quotation mark is"
        " not allowed either.",
    ),
    _Explanation(
        ("node content",),
        "found no value where one is expected",
        "Is a bracket unbalanced, or a ',' too many?",
    ),
    _Explanation(
        ("escape",),
        "found a backslash in double quotation marks that means nothing in YAML",
        "Use single quotation marks, or write the backslash twice.",
    ),
    _Explanation(
        ("tag",),
        "found a tag ('!…') that means nothing here",
        "Put quotation marks around a value that begins with '!'.",
    ),
    _Explanation(
        ("alphabetic or numeric",),
        "found '&' or '*' at the beginning of a value, expected text",
        "Put quotation marks around a value that begins with '&' or '*'.",
    ),
    _Explanation(
        ("incompatible YAML document", "directive", "<document start>"),
        "found a line with '%' or of another YAML version",
        "Remove the line: a '%' at the beginning of a line is an instruction to the parser.",
    ),
)


def explain(error: MarkedYAMLError) -> Complaint:
    """What the parser's complaint means for the person who wrote the file."""
    problem = str(error.problem or error.context or "")
    for known in _EXPLANATIONS:
        if any(piece in problem for piece in known.pieces):
            marks = [error.problem_mark, error.context_mark]
            if known.at_beginning:
                marks.reverse()
            message = f"this is not valid YAML: {known.message}"
            return Complaint(message, known.hint, next((mark for mark in marks if mark), None))
    words = " ".join(part for part in (error.context, problem) if part)
    return Complaint(
        f"this is not valid YAML: {words}",
        "Compare the line with the examples of the documentation.",
        error.problem_mark or error.context_mark,
    )
