"""Secrets from HashiCorp Vault and OpenBao: the plugin `vault_secrets`, which the host asks for the other plugins' secrets."""

from __future__ import annotations

from ._plugin import VaultSecretsPlugin
from .settings import Place, VaultSettings

__all__ = ["Place", "VaultSecretsPlugin", "VaultSettings"]
