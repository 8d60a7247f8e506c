"""Turns the `files` of a request into the engine's file references; a mapping says all, no upload is looked up."""

from collections.abc import Mapping, Sequence
from typing import Any

from graphon.file.enums import FileTransferMethod, FileType
from graphon.file.models import File


def build_from_mappings(
    *,
    mappings: Sequence[Mapping[str, Any]],
    config: Any = None,
    tenant_id: str,
    strict_type_validation: bool = False,
    access_controller: Any = None,
) -> Sequence[File]:
    return [
        File(
            type=FileType(mapping.get("type", "document")),
            transfer_method=FileTransferMethod(mapping["transfer_method"]),
            remote_url=mapping.get("url"),
            reference=mapping.get("upload_file_id"),
            filename=mapping.get("name", "upload"),
            extension=mapping.get("extension", ".png"),
            mime_type=mapping.get("mime_type", "image/png"),
            size=int(mapping.get("size", 68)),
        )
        for mapping in mappings
    ]
