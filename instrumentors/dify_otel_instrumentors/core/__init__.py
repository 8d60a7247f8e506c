"""The mechanism: import hooks, one wrapper, the relay, a span's life, the guard, content, names. Knows nothing of Dify.

`hooks`, `operation`, `guard` and `semconv` import no OpenTelemetry, because the seam table that uses them is read while
Dify is still being imported; the modules which do are loaded when the first seam is wrapped.
"""
