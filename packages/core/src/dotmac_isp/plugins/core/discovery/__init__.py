"""What is installed: plugins found by entry points and manifests, without running any of their code (design, decision 4).

`discover` reads; `load_class`, `load_settings_model` and `load_provider` import, behind a fence.
"""

from __future__ import annotations

from ._discover import GROUP, Discovery, InstalledPlugin, Problem, discover
from ._hosting import EndpointRule, Hosting, HostingLimits, endpoints_of, files_of, in_bytes
from ._installs import InstallWatch
from ._load import load_class, load_provider, load_settings_model
from ._manifest import API_VERSION, Feature, Manifest, SecretNames, read_manifest
from ._modules import Forgotten, are_loaded, changed_file, code_folders, forget_modules, load_own_modules, own_folder

__all__ = [
    "API_VERSION",
    "GROUP",
    "Discovery",
    "EndpointRule",
    "Feature",
    "Forgotten",
    "Hosting",
    "HostingLimits",
    "InstallWatch",
    "InstalledPlugin",
    "Manifest",
    "Problem",
    "SecretNames",
    "are_loaded",
    "changed_file",
    "code_folders",
    "discover",
    "endpoints_of",
    "files_of",
    "forget_modules",
    "in_bytes",
    "load_class",
    "load_own_modules",
    "load_provider",
    "load_settings_model",
    "own_folder",
    "read_manifest",
]
