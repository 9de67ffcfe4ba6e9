"""Values of AWS calls to and from the JSON of clients that are programs of their
own, by the shapes of the service model that botocore has."""

import base64
import functools
import io

import botocore.session
from botocore import xform_name
from botocore.utils import parse_timestamp


@functools.cache
def model(service):
    return botocore.session.get_session().get_service_model(service)


@functools.cache
def operation(service, method):
    """The operation that boto3 calls `method`."""
    for name in model(service).operation_names:
        if xform_name(name) == method:
            return model(service).operation_model(name)
    raise AttributeError(f"{service} has no {method}")


class Client:
    """Looks like boto3's client of `service`; `perform(operation, input)` calls."""

    def __init__(self, service, perform):
        self.service = service
        self.perform = perform

    def __getattr__(self, method):
        called = operation(self.service, method)
        return lambda **given: read(
            called.output_shape, self.perform(called, given), top=True
        )


def read(shape, value, top=False):
    """A value as boto3 would answer it; members that are not modelled are dropped."""
    if shape is None:
        return {}
    if value is None:
        return None
    if shape.type_name == "structure":
        return {
            name: read(member, value[name])
            for name, member in shape.members.items()
            if value.get(name) is not None
        }
    if shape.type_name == "list":
        return [read(shape.member, entry) for entry in value]
    if shape.type_name == "map":
        return {name: read(shape.value, entry) for name, entry in value.items()}
    if shape.type_name == "timestamp":
        return parse_timestamp(value)
    if shape.type_name == "blob":
        data = value if isinstance(value, bytes) else base64.b64decode(value)
        return io.BytesIO(data) if shape.serialization.get("streaming") else data
    return value


def write(shape, value, blob):
    """A value as JSON, each blob as `blob` makes it."""
    if shape.type_name == "structure":
        return {k: write(shape.members[k], v, blob) for k, v in value.items()}
    if shape.type_name == "list":
        return [write(shape.member, entry, blob) for entry in value]
    if shape.type_name == "map":
        return {k: write(shape.value, v, blob) for k, v in value.items()}
    return blob(value) if shape.type_name == "blob" else value
