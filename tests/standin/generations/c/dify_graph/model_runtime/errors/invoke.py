class InvokeError(ValueError):
    description: str | None = None

    def __init__(self, description: str | None = None) -> None:
        self.description = description

    def __str__(self) -> str:
        return self.description or self.__class__.__name__


class InvokeBadRequestError(InvokeError):
    pass


class InvokeServerUnavailableError(InvokeError):
    pass
