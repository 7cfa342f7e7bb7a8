"""Server reflection (grpc.reflection, v1 and v1alpha): what grpcurl and others ask to learn the contract."""

from collections.abc import Sequence

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FileDescriptor

from sidecar.lanes.malformed import parsed
from sidecar.wire import bundle_pb2, fleet_pb2, router_pb2

NOT_FOUND, UNIMPLEMENTED = 5, 12
# Imported so that the pool knows them.
CONTRACTS = (router_pb2, bundle_pb2, fleet_pb2)


def reflect(names: Sequence[str], raw: bytes) -> bytes:
    """The answer to one ServerReflectionRequest.

    Args:
        names: of the services that are served.
        raw: the request.

    Raises:
        InvalidRequest: it is none.
    """
    from grpc_health.v1 import health_pb2  # noqa: PLC0415 - a start does not need them
    from grpc_reflection.v1alpha import reflection_pb2 as pb  # noqa: PLC0415

    request = parsed(pb.ServerReflectionRequest, raw)
    reply = pb.ServerReflectionResponse(valid_host=request.host, original_request=request)
    pool = descriptor_pool.Default()
    assert health_pb2.DESCRIPTOR.pool is pool  # noqa: S101 - so reflection knows the health service
    kind = request.WhichOneof("message_request")
    try:
        if kind == "list_services":
            reply.list_services_response.service.extend(pb.ServiceResponse(name=name) for name in sorted(names))
        elif kind == "file_by_filename":
            _add_files(reply, pool.FindFileByName(request.file_by_filename))
        elif kind == "file_containing_symbol":
            _add_files(reply, pool.FindFileContainingSymbol(request.file_containing_symbol))
        elif kind == "file_containing_extension":
            wanted = request.file_containing_extension
            message = pool.FindMessageTypeByName(wanted.containing_type)
            _add_files(reply, pool.FindExtensionByNumber(message, wanted.extension_number).file)
        elif kind == "all_extension_numbers_of_type":
            message = pool.FindMessageTypeByName(request.all_extension_numbers_of_type)
            found = reply.all_extension_numbers_response
            found.base_type_name = message.full_name
            found.extension_number.extend(each.number for each in pool.FindAllExtensions(message))
        else:
            reply.error_response.error_code = UNIMPLEMENTED
            reply.error_response.error_message = "message_request: is empty; say what is asked for."
    except KeyError:
        reply.error_response.error_code = NOT_FOUND
        reply.error_response.error_message = "not found"
    return bytes(reply.SerializeToString())


def _add_files(reply: object, file: FileDescriptor) -> None:
    """Adds a file and all that it imports, each once, importing files first."""
    files: dict[str, bytes] = {}

    def add(each: FileDescriptor) -> None:
        if each.name not in files:
            files[each.name] = each.serialized_pb
            for dependency in each.dependencies:
                add(dependency)

    add(file)
    reply.file_descriptor_response.file_descriptor_proto.extend(files.values())  # type: ignore[attr-defined]  # of no typed module
