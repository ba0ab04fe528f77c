"""Configuration: read once from file and environment, checked as a whole, frozen; every bound has its number here."""

from ecproc.config.hooks import DeskWebhookConfig, HooksConfig, HookSourceConfig
from ecproc.config.limits import Limits
from ecproc.config.loading import load_config
from ecproc.config.options import (
    AttachmentsConfig,
    BridgeConfig,
    BridgeIdentity,
    CommandsConfig,
    Config,
    DataConfig,
    DeskConfig,
    LogConfig,
    MappingConfig,
    OutboxConfig,
    SecretFile,
    WebConfig,
    is_loopback,
)
from ecproc.config.policies import PolicyAdopt, PolicyConfig, PolicyReopen
from ecproc.config.rotation import LiveSecret, SecretChange, Secrets, list_secret_texts, secret_texts
from ecproc.config.secret import Secret
from ecproc.config.showing import ConfigRow, describe_config, template
from ecproc.config.tables import TableAt

__all__ = [
    "AttachmentsConfig",
    "BridgeConfig",
    "BridgeIdentity",
    "CommandsConfig",
    "Config",
    "ConfigRow",
    "DataConfig",
    "DeskConfig",
    "DeskWebhookConfig",
    "HookSourceConfig",
    "HooksConfig",
    "Limits",
    "LiveSecret",
    "LogConfig",
    "MappingConfig",
    "OutboxConfig",
    "PolicyAdopt",
    "PolicyConfig",
    "PolicyReopen",
    "Secret",
    "SecretChange",
    "SecretFile",
    "Secrets",
    "TableAt",
    "WebConfig",
    "describe_config",
    "is_loopback",
    "list_secret_texts",
    "load_config",
    "secret_texts",
    "template",
]
