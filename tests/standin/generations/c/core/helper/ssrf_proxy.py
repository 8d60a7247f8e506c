from types import SimpleNamespace

SSRF_DEFAULT_MAX_RETRIES = 3


def make_request(method, url, max_retries=SSRF_DEFAULT_MAX_RETRIES, **kwargs):
    return SimpleNamespace(status_code=200, url=url, headers=kwargs.get("headers") or {})


def get(url, max_retries=SSRF_DEFAULT_MAX_RETRIES, **kwargs):
    return make_request("GET", url, max_retries=max_retries, **kwargs)
