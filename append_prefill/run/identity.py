"""What tells one run's settings from another's, of this machine and of the profile."""

from __future__ import annotations

import hashlib
from typing import Any

from append_prefill.engines.attach import AttachedEngine
from append_prefill.probe.placement.draw import refusal
from append_prefill.probe.placement.topology import topology_of
from append_prefill.records.definition import definition_of, protocol_of
from append_prefill.records.identity import arguments, compose_identity
from append_prefill.run.settings import Settings
from append_prefill.workload.profile import Profile


def profile_digest(profile: Profile) -> str:
    """What tells a profile from one of the same name that measures, or judges, otherwise."""
    return hashlib.sha256(profile.model_dump_json().encode()).hexdigest()


def identity_for(settings: Settings) -> dict[str, Any]:
    """What must be equal for another run to be comparable with one of these settings.

    Of a running server the arguments are those it resolved; its environment cannot be known and
    is taken to be the profile's, of which the run warns.
    """
    profile, candidate = settings.profile, settings.candidate
    server_args = [*profile.server.args, *settings.options.server_arg]
    model = candidate.model_identity()
    if isinstance(candidate, AttachedEngine):
        server_args = candidate.resolved_args(arguments(server_args))
        if model["config_sha256"] == settings.model.config_sha256:
            model["name"] = settings.model.name
    return compose_identity(
        device=settings.device_identity(),
        model=model,
        server_args=server_args,
        server_env=profile.server.env,
        definition=definition_of(profile),
        protocol=protocol_of(profile),
        placement=placement_of(settings),
    )


def placement_of(settings: Settings) -> str | None:
    """The placement that this host allows; None under a profile that asks for none.

    The same for a run of one version and for a comparison, so that the two can be compared.
    """
    policy = settings.profile.placement.policy
    if policy == "off":
        return None
    if isinstance(settings.candidate, AttachedEngine):
        return "off"
    return "off" if refusal(policy, topology_of(settings.devices[0])) else policy
