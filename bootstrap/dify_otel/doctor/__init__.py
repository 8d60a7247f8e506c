"""`dify-otel doctor`: what of dify-otel works here, what does not, and what to do about it.

Separate from the agent because it runs when the agent may not: it reads Dify's source instead of importing it, and asks
another interpreter for its packages instead of loading them.
"""
