from types import SimpleNamespace

SENT: list[tuple[str, str, dict[str, str]]] = []
"""Method, path and headers of every request, in place of a plugin daemon."""


class BasePluginClient:
    def _request(self, method, path, headers=None, data=None, params=None, files=None, stream=False):
        headers = dict(headers or {})
        SENT.append((method, path, headers))
        return SimpleNamespace(status_code=200)

    def _stream_request(self, method, path, params=None, headers=None, data=None, files=None):
        headers = dict(headers or {})
        SENT.append((method, path, headers))
        yield from ("one", "two")
