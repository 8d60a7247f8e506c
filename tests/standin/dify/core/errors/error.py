class LLMError(ValueError):
    description: str | None = None

    def __init__(self, description: str | None = None) -> None:
        self.description = description


class ProviderTokenNotInitError(ValueError):
    description = "Provider Token Not Init"


class QuotaExceededError(ValueError):
    description = "Quota Exceeded"


class AppInvokeQuotaExceededError(ValueError):
    description = "App Invoke Quota Exceeded"
