from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import uuid4


def new_id() -> str:
    return str(uuid4())


@dataclass
class Account:
    id: str = field(default_factory=new_id)
    name: str = "admin"


@dataclass
class EndUser:
    session_id: str = "user-1"
    id: str = field(default_factory=new_id)
    tenant_id: str = "tenant-1"


@dataclass
class App:
    mode: str = "workflow"
    name: str = "an app"
    id: str = field(default_factory=new_id)
    tenant_id: str = "tenant-1"


@dataclass
class Conversation:
    app_id: str
    mode: str
    id: str = field(default_factory=new_id)
    name: str = ""


@dataclass
class Message:
    app_id: str
    conversation_id: str
    query: str
    inputs: dict[str, Any]
    id: str = field(default_factory=new_id)
    model_provider: str | None = None
    model_id: str | None = None
    message: Any = ""
    message_tokens: int = 0
    message_unit_price: Decimal = Decimal(0)
    answer: str = ""
    answer_tokens: int = 0
    answer_unit_price: Decimal = Decimal(0)
    provider_response_latency: float = 0.0
    total_price: Decimal | None = None
    currency: str = "USD"
    status: str = "normal"
    error: str | None = None
    message_metadata: str | None = None
    invoke_from: str | None = None
    from_source: str = "api"
    from_end_user_id: str | None = None
    from_account_id: str | None = None
    agent_based: bool = False
    workflow_run_id: str | None = None
    created_at: datetime = field(default_factory=datetime.now)


@dataclass
class MessageAgentThought:
    message_id: str
    position: int
    id: str = field(default_factory=new_id)
    thought: str = ""
    tool: str = ""
    tool_input: str = ""
    observation: str = ""
    answer: str = ""


class Session:
    """Holds rows by identity, as an SQLAlchemy session does; never asks a database."""

    def __init__(self) -> None:
        self.rows: dict[tuple[type, str], Any] = {}
        self.identity_map = self.rows

    def add(self, row: Any) -> None:
        self.rows[(type(row), row.id)] = row

    def get(self, kind: type, key: str) -> Any:
        return self.rows.get((kind, key))


DATABASE = Session()
