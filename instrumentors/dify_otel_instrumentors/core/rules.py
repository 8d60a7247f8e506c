"""The policy in force: what may leave the process and how it is spelled.

Separate from `span`, which loads OpenTelemetry: the concept files ask the policy, and they are read before that may be.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Policy:
    """Made by the bootstrap from its settings.

    `content_on_spans` and `content_on_events`: where content may go. `error_text`: record the text of errors.
    `content_limit`: characters a value. `user_id`: external, internal, hash or off.
    """

    content_on_spans: bool = False
    content_on_events: bool = False
    error_text: bool = False
    content_limit: int = 8192
    dialects: tuple[str, ...] = ("otel", "arms")
    user_id: str = "external"
    user_id_salt: str = ""

    @property
    def content(self) -> bool:
        """Whether content is worth gathering at all."""
        return self.content_on_spans or self.content_on_events


_policy = Policy()


def set_policy(new: Policy | None) -> None:
    """Put a policy in force; None: the most private one."""
    global _policy
    _policy = new or Policy()


def policy() -> Policy:
    """The policy in force; the most private one before anything is configured."""
    return _policy


def person(value: str | None) -> str | None:
    """An id that stands for a person, as the policy wants it: as it is, as a hash, or not at all."""
    if not value or _policy.user_id == "off":
        return None
    if _policy.user_id == "hash":
        return hashlib.sha256((_policy.user_id_salt + value).encode("utf-8", "replace")).hexdigest()[:16]
    return value


def user_id(external: str | None, internal: str | None) -> str | None:
    """The one user id of a request, as the policy wants it: the caller's name for the user, Dify's id, or a hash."""
    return person(internal if _policy.user_id == "internal" else external or internal)
