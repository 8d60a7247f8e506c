"""What the engine asks Dify about files: their addresses. Contents are never read here."""

from collections.abc import Generator
from typing import Any, Literal

from graphon.file.models import File
from graphon.file.runtime import set_workflow_file_runtime

_SIGNED = "timestamp=1&nonce=n0nce&sign=signed-url-canary"


class DifyWorkflowFileRuntime:
    @property
    def multimodal_send_format(self) -> str:
        return "url"

    def http_get(self, url: str, *, follow_redirects: bool = True) -> Any:
        raise NotImplementedError("the stand-in fetches no file")

    def storage_load(self, path: str, *, stream: bool = False) -> bytes | Generator[bytes, None, None]:
        return b""

    def load_file_bytes(self, *, file: File) -> bytes:
        return b""

    def resolve_file_url(self, *, file: File, for_external: bool = True) -> str | None:
        return file.remote_url or f"http://127.0.0.1/files/{file.related_id}/file-preview?{_SIGNED}"

    def resolve_upload_file_url(
        self, *, upload_file_id: str, as_attachment: bool = False, for_external: bool = True
    ) -> str:
        return f"http://127.0.0.1/files/{upload_file_id}/file-preview?{_SIGNED}"

    def resolve_tool_file_url(self, *, tool_file_id: str, extension: str, for_external: bool = True) -> str:
        return f"http://127.0.0.1/files/tools/{tool_file_id}{extension}?{_SIGNED}"

    def verify_preview_signature(
        self, *, preview_kind: Literal["image", "file"], file_id: str, timestamp: str, nonce: str, sign: str
    ) -> bool:
        return True


def bind_dify_workflow_file_runtime() -> None:
    set_workflow_file_runtime(DifyWorkflowFileRuntime())
