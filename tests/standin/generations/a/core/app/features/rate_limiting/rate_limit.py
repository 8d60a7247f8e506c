from collections.abc import Mapping


class RateLimit:
    def __init__(self, client_id: str, max_active_requests: int):
        self.client_id = client_id
        self.left: list[str] = []

    def exit(self, request_id: str) -> None:
        self.left.append(request_id)

    def generate(self, generator, request_id: str):
        if isinstance(generator, Mapping):
            return generator
        return RateLimitGenerator(rate_limit=self, generator=generator, request_id=request_id)


class RateLimitGenerator:
    def __init__(self, rate_limit, generator, request_id):
        self.rate_limit = rate_limit
        self.generator = generator
        self.request_id = request_id
        self.closed = False

    def __iter__(self):
        return self

    def __next__(self):
        if self.closed:
            raise StopIteration
        try:
            return next(self.generator)
        except Exception:
            self.close()
            raise

    def close(self):
        if not self.closed:
            self.closed = True
            self.rate_limit.exit(self.request_id)
            if self.generator is not None and hasattr(self.generator, "close"):
                self.generator.close()
