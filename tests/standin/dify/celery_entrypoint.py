"""Entry module of the worker: gRPC and psycopg2 are made cooperative before the application is imported."""

import psycogreen.gevent as psycogreen_gevent
from grpc.experimental import gevent as grpc_gevent

grpc_gevent.init_gevent()
psycogreen_gevent.patch_psycopg()
print("standin worker: gRPC and psycopg2 are cooperative", flush=True)

from app import app, celery

__all__ = ["app", "celery"]
