import pytest

from append_prefill.errors import UsageError
from append_prefill.report.names import NAME_CHARACTERS
from append_prefill.run.labels import refuse_labels


@pytest.mark.parametrize(
    "label", ["main", "PR 123", "0.5.23-patched", "größer", "x" * NAME_CHARACTERS]
)
def test_names_that_will_do(label):
    refuse_labels(label, None)
    refuse_labels(None, label)
    refuse_labels(f"{label}"[1:], label)


@pytest.mark.parametrize(
    ("label", "problem"),
    [
        ("", "is empty"),
        (" a", "begins or ends with a space"),
        ("x" * (NAME_CHARACTERS + 1), "has 49 characters"),
        ("x" * 1_000_000, "has 1000000 characters"),
        ("a\nb", "cannot be printed"),
        ("\x1b[31mred", "cannot be printed"),
        ("a\N{RIGHT-TO-LEFT OVERRIDE}b", "cannot be printed"),
        ("\udc80", "cannot be printed"),
    ],
)
@pytest.mark.parametrize("option", ["--label", "--against-label"])
def test_names_that_no_sentence_can_carry(option, label, problem):
    given = (label, None) if option == "--label" else (None, label)
    with pytest.raises(UsageError, match=problem) as caught:
        refuse_labels(*given)
    text = str(caught.value)
    assert text.startswith(f"{option} ")
    assert text.isprintable()
    assert len(text) < 300


def test_two_sides_of_one_name_are_refused():
    with pytest.raises(UsageError, match="--against-label main: .*tell the sides apart"):
        refuse_labels("main", "main")
