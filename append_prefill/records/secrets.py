"""What must not enter a record: secrets, told by the names they go by and by their shape.

A name too many is masked rather than one too few. Only the identity's server arguments are left out
by narrower rules (`identity.is_secret`), since they decide what is comparable.
"""

from __future__ import annotations

import re

MASK = "***"

# `token` in the singular: counts of tokens (`max_total_tokens`) and tokenizers are no secrets.
_NAME = (
    r"(?:token(?!s|i[sz])|secret|passw(?:or)?d|passphrase|api[_-]?key|access[_-]?key"
    r"|private[_-]?key|watermark[_-]?key|credential|authorization|cookie|(?<![a-z])dsn(?![a-z]))"
)
_SECRET_NAME = re.compile(_NAME, re.IGNORECASE)
# Each rule begins with something rare and is bounded, so that a megabyte is read in one go.
_RULES = (
    # https://user:password@host, of which the user can be a token, too
    (re.compile(r"://[^/\s?#]*@"), f"://{MASK}@"),
    # {"hf_token": "x"}, in either kind of quotes
    (
        re.compile(
            rf"""({_NAME}[\w.-]{{0,60}}["']\s{{0,9}}:\s{{0,9}})(?:"[^"]*"|'[^']*'|[^\s,}}]+)""",
            re.IGNORECASE,
        ),
        rf"\1{MASK}",
    ),
    # ?access_token=x, password=x, --hf-token=x
    (re.compile(rf"""({_NAME}[\w.-]{{0,60}}=)[^\s&;,"']+""", re.IGNORECASE), rf"\1{MASK}"),
    (re.compile(r"\b(Bearer|Basic)\s+[\w.~+/=-]{8,}", re.IGNORECASE), rf"\1 {MASK}"),
    # What the issuers of keys let them begin with: Hugging Face, GitHub, GitLab, OpenAI and its
    # like, Slack, AWS; and JSON web tokens.
    (
        re.compile(
            r"\b(?:hf_|gh[opsur]_|github_pat_|glpat-|sk-|xox[abeprs]-)[\w-]{8,}"
            r"|\bAKIA[A-Z0-9]{12,}|\beyJ[\w-]{6,200}\.[\w-]{6,4000}\.[\w-]*"
        ),
        MASK,
    ),
)


def is_secret_name(name: str) -> bool:
    """Whether what goes by this name (a variable, a key) is likely to be a secret."""
    return _SECRET_NAME.search(name) is not None


def masked(text: str) -> str:
    """`text` with what looks like a secret in it as `***`: users of URLs, keys, tokens."""
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return text
