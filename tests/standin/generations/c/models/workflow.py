from dataclasses import dataclass, field
from typing import Any

from models.model import new_id


@dataclass
class Workflow:
    app_id: str
    graph_dict: dict[str, Any]
    id: str = field(default_factory=new_id)
    tenant_id: str = "tenant-1"
    type: str = "workflow"
    version: str = "2026-01-01 00:00:00"
