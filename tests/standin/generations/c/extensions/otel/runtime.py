import os


def is_instrument_flag_enabled() -> bool:
    return os.getenv("ENABLE_OTEL_FOR_INSTRUMENT", "").strip().lower() == "true"
