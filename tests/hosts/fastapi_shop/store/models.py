from decimal import Decimal
from typing import Any

from sqlalchemy import Index, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    type_annotation_map = {dict[str, Any]: JSONB, str: Text}


class Order(Base):
    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str]
    lines: Mapped[dict[str, Any]]
    status: Mapped[str] = mapped_column(default="new", server_default="new")

    @property
    def euros(self) -> Decimal:
        return self.lines["euros"]


class Episode(Base):
    """What this shop sells: its table has the name that a table of ours once had."""

    __tablename__ = "episodes"
    __table_args__ = (Index("episodes_one_title", "title", unique=True),)

    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
