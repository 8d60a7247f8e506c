"""What dify-otel instruments in Dify: the seam table, one file a concept, and the core that wraps.

Separate from `dify_otel` (how a process becomes instrumented) so that nothing here knows the SDK, exporters, gevent or
the environment. Importing this package imports neither Dify nor OpenTelemetry.
"""
