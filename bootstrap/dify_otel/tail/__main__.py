"""`python -m dify_otel.tail`: the same command where the `dify-otel` script is not on the PATH."""

import argparse
import sys

from dify_otel.tail import command

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="dify-otel tail")
    command.add_arguments(parser)
    sys.exit(command.run(parser.parse_args()))
