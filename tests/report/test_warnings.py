"""Every warning has its sentence, and the numbers in it are the record's."""

from typing import get_args

import pytest

from append_prefill.records.grounds import RunWarning
from append_prefill.report.warnings import warning_words


@pytest.mark.parametrize("code", get_args(RunWarning.model_fields["code"].annotation))
def test_every_warning_has_a_sentence(code) -> None:
    said = warning_words(
        RunWarning(
            code=code,
            side="candidate",
            launch=2,
            version="0.5.23",
            host="gpu2",
            fields=["driver"],
            value=91.4,
            limit=90,
            text="it ended",
        )
    )
    assert said
    assert "None" not in said
