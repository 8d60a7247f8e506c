"""Which Dify release this is: of the running process, from the configuration it has already loaded."""

from __future__ import annotations

import sys
from typing import Any


def running() -> str | None:
    """The release of the Dify in this process, or None. Imports nothing."""
    config: Any = getattr(sys.modules.get("configs"), "dify_config", None)
    if config is None:
        return None
    version = getattr(config, "CURRENT_VERSION", None)  # to 1.4.3
    if version is None:
        version = getattr(getattr(config, "project", None), "version", None)
    return version if isinstance(version, str) else None
