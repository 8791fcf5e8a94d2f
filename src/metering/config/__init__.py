"""Configuration: a TOML file becomes one frozen plan, or an error that names the field.

`docs/reference/configuration.md` describes every field.
"""

from metering.config.agreement import agreed_overrides
from metering.config.loading import (
    load_plan,
    plan_from_env,
    plan_from_file,
    plan_from_preset,
    preset_text,
    with_environment,
)
from metering.config.notices import NoticeSettings, StreamSettings, WebhookSettings
from metering.config.plan import JournalSettings, OutageSettings, Plan

__all__ = [
    "JournalSettings",
    "NoticeSettings",
    "OutageSettings",
    "Plan",
    "StreamSettings",
    "WebhookSettings",
    "agreed_overrides",
    "load_plan",
    "plan_from_env",
    "plan_from_file",
    "plan_from_preset",
    "preset_text",
    "with_environment",
]
