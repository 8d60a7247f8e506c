from core.app.features.rate_limiting.rate_limit import RateLimit

__all__ = ["RateLimit"]
