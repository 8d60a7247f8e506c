"""Read by gunicorn from its working folder, in the arbiter, before any worker is forked or patched.

Makes gRPC and psycopg2 cooperative at the only right moment, which gevent announces. A missing psycogreen or grpc fails
here, loudly. Nothing else may be imported at the top of this file (dify#26689).
"""

import psycogreen.gevent as psycogreen_gevent
from gevent import events as gevent_events
from grpc.experimental import gevent as grpc_gevent


def post_patch(event: object) -> None:
    if not isinstance(event, gevent_events.GeventDidPatchBuiltinModulesEvent):
        return
    grpc_gevent.init_gevent()
    psycogreen_gevent.patch_psycopg()
    print("standin api: gRPC and psycopg2 are cooperative", flush=True)


gevent_events.subscribers.append(post_patch)
