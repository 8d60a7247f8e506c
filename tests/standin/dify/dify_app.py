"""The Flask class Dify's processes build."""

from flask import Flask


class DifyApp(Flask):
    pass
