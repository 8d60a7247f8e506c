from extensions.otel.runtime import is_instrument_flag_enabled


class ObservabilityLayer:
    def __init__(self):
        self._is_disabled = False
        self._tracer = None
        self._init_tracer()

    def _init_tracer(self):
        if not is_instrument_flag_enabled():
            self._is_disabled = True
