"""Log lines to standard output, set up before anything else may add handlers of its own, as in Dify."""

import logging
import sys

from dify_app import DifyApp


def init_app(app: DifyApp) -> None:
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname)s [%(filename)s:%(lineno)d] %(message)s",
        handlers=[logging.StreamHandler(sys.stdout)],
        force=True,
    )
