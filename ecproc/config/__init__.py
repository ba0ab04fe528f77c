"""Configuration: read once from file and environment, checked as a whole, frozen; every bound has its number here."""

from ecproc.config.loading import load_config
from ecproc.config.options import (
    AttachmentsConfig,
    BridgeConfig,
    BridgeIdentity,
    CommandsConfig,
    Config,
    DataConfig,
    DeskConfig,
    Limits,
    OutboxConfig,
    Secret,
    WebConfig,
    is_loopback,
)
from ecproc.config.showing import ConfigRow, describe_config, template

__all__ = [
    "AttachmentsConfig",
    "BridgeConfig",
    "BridgeIdentity",
    "CommandsConfig",
    "Config",
    "ConfigRow",
    "DataConfig",
    "DeskConfig",
    "Limits",
    "OutboxConfig",
    "Secret",
    "WebConfig",
    "describe_config",
    "is_loopback",
    "load_config",
    "template",
]
