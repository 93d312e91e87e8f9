from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from append_prefill.records.identity import arguments, without_secrets
from append_prefill.records.secrets import is_secret_name, masked

SECRET = "hunter2hunter2"


@pytest.mark.parametrize(
    "text",
    [
        f"https://user:{SECRET}@host:8000/v1",
        f"https://{SECRET}@host/",
        f"redis://:{SECRET}@host:6379/0",
        f"http://host/x?access_token={SECRET}&y=1",
        f"password={SECRET}",
        f"--hf-token={SECRET}",
        f'{{"hf_token": "{SECRET}", "x": 1}}',
        f"{{'api_key':'{SECRET}'}}",
        f"Authorization: Bearer {SECRET}",
        f"hf_{SECRET}",
        f"ghp_{SECRET}",
        f"glpat-{SECRET}",
        f"eyJhbGciOi.eyJzdWIiOi.{SECRET}",
    ],
)
def test_a_secret_is_masked_and_the_rest_is_not(text: str) -> None:
    kept = masked(text)
    assert SECRET not in kept
    assert "***" in kept
    assert masked(kept) == kept


@pytest.mark.parametrize(
    "text",
    [
        "8192",
        "/models/Llama-3.1-8B-Instruct",
        "http://127.0.0.1:30000/v1?x=1",
        "max_total_tokens=40000",
        "--skip-tokenizer-init",
        "user@host",
        '{"chunked_prefill_size": 4096}',
    ],
)
def test_what_is_no_secret_stays_as_it_is(text: str) -> None:
    assert masked(text) == text


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("HF_TOKEN", True),
        ("OPENAI_API_KEY", True),
        ("SGLANG_WATERMARK_KEY", True),
        ("AWS_SECRET_ACCESS_KEY", True),
        ("DB_PASSWORD", True),
        ("SENTRY_DSN", True),
        ("SGLANG_MAX_NEW_TOKENS", False),
        ("TOKENIZERS_PARALLELISM", False),
        ("KEYBOARD_LAYOUT", False),
    ],
)
def test_names_of_secrets(name: str, secret: bool) -> None:
    assert is_secret_name(name) is secret


def test_arguments_hold_no_secret_of_a_value() -> None:
    given_args = ["--cache-url", f"http://me:{SECRET}@store:1", f"--other=http://{SECRET}@store:1"]
    assert SECRET not in str(arguments(given_args)) + str(without_secrets(given_args))
    assert without_secrets(given_args)[0] == "--cache-url"
    # What an option is called does not mask its value, unless it carries a secret itself.
    assert without_secrets(["--speculative-token-map=/a/map"]) == ["--speculative-token-map=/a/map"]


@given(st.text(max_size=40), st.text(max_size=40))
def test_a_users_password_never_stays_in_a_url(before: str, after: str) -> None:
    assert SECRET not in masked(f"{before}https://u:{SECRET}@h/{after}")


@pytest.mark.parametrize("word", ["a", "token", "token-", "eyJ-", "://", '"token"', "http://a"])
@pytest.mark.timeout(60)
def test_a_megabyte_of_hostile_text_is_read_in_one_go(word: str) -> None:
    """Rules that went back over the text would take hours."""
    masked(word * (1_000_000 // len(word)))
