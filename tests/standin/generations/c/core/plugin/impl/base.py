from types import SimpleNamespace

SENT: list[tuple[str, str, dict[str, str]]] = []
"""Method, path and headers of every request, in place of a plugin daemon."""


class BasePluginClient:
    def _request(self, method, path, headers=None, data=None, params=None, files=None):
        path, headers, data, params, files = self._prepare_request(path, headers, data, params, files)
        SENT.append((method, path, headers))
        return SimpleNamespace(status_code=200)

    def _prepare_request(self, path, headers, data, params, files):
        return path, dict(headers or {}), data, params, files

    def _stream_request(self, method, path, params=None, headers=None, data=None, files=None):
        path, headers, data, params, files = self._prepare_request(path, headers, data, params, files)
        SENT.append((method, path, headers))
        yield from ("one", "two")
