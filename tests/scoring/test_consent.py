import pytest

from sidecar.scoring.consent import MAX_CHARS, is_consent


@pytest.mark.parametrize(
    "text",
    [
        "yes", "Yes.", "YES!!", "y", "ok", "ok do it", "Okay, go ahead", "commit it", "sure, sounds good", "lgtm",
        "please proceed", "continue", "go", "do both", "1", "2.", "b)", "#3", "1 and 3", "option 2", "the second",
        "go with option b", "let's do the first one", "merge and push", "Yes, please apply the changes.", "\U0001f44d",
        "\U0001f44d\U0001f3fd", "\u2705 ship it", "ja", "Ja, bitte mach das", "oui, vas-y", "s\u00ed, adelante", "s\u00ec, procedi",
        "sim, pode continuar", "tak", "\u0434\u0430", "\u0434\u0430, \u0434\u0430\u0432\u0430\u0439", "evet", "kyll\u00e4", "ja graag", "jo, forts\u00e4tt",
    ],
)  # fmt: skip
def test_approvals_are_consents(text: str) -> None:
    assert is_consent(text)


@pytest.mark.parametrize(
    "text",
    [
        "", "   ", "...", "no", "stop", "thanks", "hello", "why?", "what is 2", "is it right?", "ok but why",
        "yes, and rewrite the parser in Rust", "write a poem", "fix the login page", "the", "it", "12345",
        "yes " * MAX_CHARS,
    ],
)  # fmt: skip
def test_turns_with_something_of_their_own_are_not(text: str) -> None:
    assert not is_consent(text)
