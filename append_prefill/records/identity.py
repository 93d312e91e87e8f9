"""Identity: what must be equal for two runs to be comparable, and where two runs differ in it.

Identity is not state (clocks, throttling, co-tenants: they make samples invalid) and not subject
(the versions under test: they are meant to differ).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from append_prefill.records.definition import protocol_behind
from append_prefill.records.run import Run
from append_prefill.records.secrets import MASK, masked
from append_prefill.workload.points import Point

# Where a server listens, where its files lie and what it logs: differs from launch to launch and
# moves no timing. The model behind a path is identified by `model_identity`.
PLACES = frozenset(
    {
        "dist-init-addr",
        "host",
        "log-level",
        "log-level-http",
        "model",
        "model-path",
        "nccl-port",
        "port",
        "served-model-name",
        "tokenizer-path",
    }
)
MACHINE = frozenset(
    {
        "device_kind",
        "device",
        "memory_bytes",
        "compute_capability",
        "mig",
        "host_cpu",
        "cpu_family",
        "logical_cores",
        "physical_cores",
    }
)
"""Fields of an identity that make a machine: the others (driver, power cap, governor, arguments)
can differ from one run on it to the next."""

# SGLang's options that carry a secret end in one of these (`--api-key`, `--admin-api-key`,
# `--ssl-keyfile-password`, `--hf-token`); `--max-total-tokens` and its like do not.
_SECRET_ENDINGS = ("api-key", "password", "-token", "secret")


def compose_identity(
    *,
    device: Mapping[str, Any],
    model: Mapping[str, Any],
    server_args: Sequence[str],
    server_env: Mapping[str, str],
    definition: str,
    protocol: Mapping[str, Any],
    placement: str | None = None,
) -> dict[str, Any]:
    """The identity of a run.

    `definition` and `protocol` are those of its profile (`records.definition`).
    `device` is `Guard.identity()` (device, memory_bytes, driver, power_cap_w, …), whose keys stay
    on top; `model` is `Engine.model_identity()` (name, config hash, dtype, weights). `server_args`
    and `server_env` are what the profile and the user pinned, not what the engine adds for one
    launch; of the environment only the names and a digest are kept. `placement` is the policy that
    this host has cores for, None under a profile that places nothing.
    """
    return {
        "definition": definition,
        "protocol": dict(protocol),
        **({} if placement is None else {"placement": placement}),
        **device,
        "model": dict(model),
        "server_args": arguments(server_args),
        "server_env": {"names": sorted(server_env), "digest": _digest(dict(server_env))},
    }


def arguments(server_args: Sequence[str]) -> dict[str, Any]:
    """Server arguments as {option: value}: order, `--a b` or `--a=b`, do not tell runs apart.

    A flag is True, several values are a list, the last of a repeated option counts (as in
    argparse). Places and secrets are left out, and masked within a value (a URL's user).
    """
    found: dict[str, Any] = {}
    for option, values in _options(server_args):
        if option in PLACES or is_secret(option):
            continue
        kept = [masked(value) for value in values]
        found[option] = True if not kept else kept[0] if len(kept) == 1 else kept
    return found


def without_secrets(server_args: Sequence[str]) -> list[str]:
    """The arguments as a record may keep them: the value of a secret option becomes `***`.

    So does what looks like a secret within another value.
    """
    kept = []
    hide = False
    for argument in server_args:
        if argument.startswith("--"):
            option, equals, value = argument[2:].partition("=")
            hide = is_secret(option)
            kept.append(f"--{option}{equals}{MASK if hide and equals else masked(value)}")
        else:
            kept.append(MASK if hide else masked(argument))
    return kept


def is_secret(option: str) -> bool:
    """Whether a server option (without its dashes) carries a secret."""
    return option.replace("_", "-").endswith(_SECRET_ENDINGS)


def differences(
    candidate: Run, reference: Run, not_binding: Collection[str] = ()
) -> dict[str, list[Any]]:
    """Where the identities differ: {dotted field: [candidate's, reference's]}, sorted by field.

    A field that one side lacks is None there. `not_binding` names fields that may differ
    (`driver`, `model.weights`; a parent excuses its children). The protocol always binds,
    `subject` never counts, and points are compared as far as both runs have them.
    """
    return identity_differences(identity_of(candidate), identity_of(reference), not_binding)


def identity_of(run: Run) -> dict[str, Any]:
    """The run's identity, with what records did not always have in it.

    The definition, and the protocol where the definition gives it away.
    """
    identity = {"definition": run.definition, **run.identity}
    if "protocol" not in identity:
        planned = [Point(*point) for point in run.plan.points]
        protocol = protocol_behind(identity["definition"], planned)
        if protocol is not None:
            identity["protocol"] = protocol
    return identity


def identity_differences(
    candidate: Mapping[str, Any], reference: Mapping[str, Any], not_binding: Collection[str] = ()
) -> dict[str, list[Any]]:
    """As `differences`, of two identities.

    The definition is a hash of protocol and points. It binds only where the protocol of a side is
    not known: then both must be of one definition.
    """
    told = "protocol" in candidate and "protocol" in reference
    untold = "definition" if told else "protocol"
    left, right = (
        _flat({key: value for key, value in identity.items() if key != untold})
        for identity in (candidate, reference)
    )
    return {
        field: [left.get(field), right.get(field)]
        for field in sorted({*left, *right})
        if left.get(field) != right.get(field) and not _excused(field, not_binding)
    }


def _excused(field: str, not_binding: Collection[str]) -> bool:
    if field.partition(".")[0] in ("definition", "protocol"):
        return False
    return any(field == free or field.startswith(f"{free}.") for free in not_binding)


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(item, Mapping):
            flat |= _flat(item, f"{prefix}{key}.")
        else:
            # What comes back from JSON has lists for tuples; compare like with like.
            flat[f"{prefix}{key}"] = list(item) if isinstance(item, tuple) else item
    return flat


def _options(server_args: Sequence[str]) -> list[tuple[str, list[str]]]:
    options: list[tuple[str, list[str]]] = []
    for argument in server_args:
        if argument.startswith("--"):
            option, equals, value = argument[2:].partition("=")
            options.append((option.replace("_", "-"), [value] if equals else []))
        elif options:
            options[-1][1].append(argument)
    return options


def _digest(value: Any) -> str:
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
