from typing import Any

import sqlalchemy as sa
from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, new_id


class Provider(Base):
    __tablename__ = "providers"
    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    tenant_id: Mapped[str] = mapped_column(String(36))
    provider_name: Mapped[str] = mapped_column(String(255))
    provider_type: Mapped[str] = mapped_column(String(40), default="custom")
    is_valid: Mapped[bool] = mapped_column(default=True)
    quota_limit: Mapped[int | None] = mapped_column(default=None)
    quota_used: Mapped[int] = mapped_column(default=0)


class ProviderCredential(Base):
    __tablename__ = "provider_credentials"
    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    tenant_id: Mapped[str] = mapped_column(String(36))
    provider_name: Mapped[str] = mapped_column(String(255))
    encrypted_config: Mapped[dict[str, Any]] = mapped_column(sa.JSON)
