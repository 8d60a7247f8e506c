import json
from collections.abc import Mapping


class BaseAppGenerator:
    @classmethod
    def convert_to_event_stream(cls, generator):
        if isinstance(generator, Mapping):
            return generator

        def gen():
            for message in generator:
                yield f"data: {json.dumps(message)}\n\n"

        return gen()
