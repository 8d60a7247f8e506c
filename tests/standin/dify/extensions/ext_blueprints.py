from dify_app import DifyApp


def init_app(app: DifyApp) -> None:
    from core.app.workflow.file_runtime import bind_dify_workflow_file_runtime

    # Dify binds it where its file storage starts, which the stand-in has not.
    bind_dify_workflow_file_runtime()
    from controllers.console import bp as console_bp
    from controllers.inner_api import bp as inner_api_bp
    from controllers.service_api import bp as service_api_bp
    from controllers.trigger import bp as trigger_bp

    app.register_blueprint(service_api_bp)
    app.register_blueprint(console_bp)
    app.register_blueprint(inner_api_bp)
    app.register_blueprint(trigger_bp)

    @app.route("/health")
    def health() -> dict[str, object]:
        return {"status": "ok", "version": "1.16.1"}
