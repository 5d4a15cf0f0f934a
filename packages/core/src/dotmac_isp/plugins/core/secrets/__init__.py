"""Secrets are references until the last moment (design, decision 6): providers in the operator's order, one reader per instance, redaction."""

from __future__ import annotations

from ._chain import InstanceSecrets, SecretChain
from ._providers import EnvironmentSecrets, FileSecrets, SecretProvider, environment_name
from ._redactor import Redactor

__all__ = [
    "EnvironmentSecrets",
    "FileSecrets",
    "InstanceSecrets",
    "Redactor",
    "SecretChain",
    "SecretProvider",
    "environment_name",
]
