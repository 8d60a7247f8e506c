"""How a process becomes instrumented: injection, start order, settings, SDK, infrastructure spans, command line.

Importing this package imports nothing else: it happens before gevent has patched the standard library.
"""

__version__ = "0.1.0"
