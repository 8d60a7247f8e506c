"""`dify-otel tail`: a receiver on your own machine that shows each request as a tree.

It stands apart from the agent: nothing in here is imported inside Dify, and it may use libraries
(the extra `dify-otel[tail]`) that must never be asked of a Dify container.
Importing this package imports none of them.
"""
