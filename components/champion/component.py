"""Find the champion that the candidate has to be compared with."""

from kfp import dsl

from components.image import RUNNER


@dsl.component(base_image=RUNNER, install_kfp_package=False)
def champion(settings: str) -> str:
    """Where the champion's bundle is, as the registry knows it now; empty where there is none."""
    from dgr.registry import RegistryConfig, champion_source
    from dgr.runtime import Reader

    with Reader(settings, "champion") as step:
        return champion_source(step.read(RegistryConfig), step.runs)
