class DifyApp:
    def __init__(self) -> None:
        self.extensions: dict[str, object] = {}


def create_app() -> DifyApp:
    app = DifyApp()
    initialize_extensions(app)
    return app


def initialize_extensions(app):
    app.extensions["ready"] = True
