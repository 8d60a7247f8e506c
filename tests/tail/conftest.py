"""Hypothesis without a folder in the checkout and without deadlines that a busy machine would miss."""

from hypothesis import settings

settings.register_profile("dify-otel-tail", database=None, deadline=None)
settings.load_profile("dify-otel-tail")
