"""The fields of ONNX's messages that a bundle's model may have. Numbers and names are those of onnx.proto (ONNX 1.23)."""

# message: {field number: name}; the names are onnx.proto's.
MODEL = {
    1: "ir_version",
    2: "producer_name",
    3: "producer_version",
    4: "domain",
    5: "model_version",
    6: "doc_string",
    7: "graph",
    8: "opset_import",
    14: "metadata_props",
    20: "training_info",
    25: "functions",
}
GRAPH = {
    1: "node",
    2: "name",
    5: "initializer",
    10: "doc_string",
    11: "input",
    12: "output",
    13: "value_info",
    14: "quantization_annotation",
    15: "sparse_initializer",
    16: "metadata_props",
}
NODE = {
    1: "input",
    2: "output",
    3: "name",
    4: "op_type",
    5: "attribute",
    6: "doc_string",
    7: "domain",
    8: "overload",
    9: "metadata_props",
}
ATTRIBUTE = {
    1: "name",
    2: "f",
    3: "i",
    4: "s",
    5: "t",
    6: "g",
    7: "floats",
    8: "ints",
    9: "strings",
    10: "tensors",
    11: "graphs",
    13: "doc_string",
    14: "tp",
    15: "type_protos",
    20: "type",
    21: "ref_attr_name",
    22: "sparse_tensor",
    23: "sparse_tensors",
}
TENSOR = {
    1: "dims",
    2: "data_type",
    3: "segment",
    4: "float_data",
    5: "int32_data",
    6: "string_data",
    7: "int64_data",
    8: "name",
    9: "raw_data",
    10: "double_data",
    11: "uint64_data",
    12: "doc_string",
    13: "external_data",
    14: "data_location",
    16: "metadata_props",
}
SPARSE_TENSOR = {1: "values", 2: "indices", 3: "dims"}
OPSET = {1: "domain", 2: "version"}
VALUE_INFO = {1: "name", 2: "type", 3: "doc_string", 4: "metadata_props"}
TYPE = {
    1: "tensor_type",
    4: "sequence_type",
    5: "map_type",
    6: "denotation",
    8: "sparse_tensor_type",
    9: "optional_type",
}
TENSOR_TYPE = {1: "elem_type", 2: "shape"}
SHAPE = {1: "dim"}
DIMENSION = {1: "dim_value", 2: "dim_param", 3: "denotation"}
# Fields that protobuf lets occur once. Twice, the last one wins or both are merged, depending on the reader.
ONCE = frozenset(
    {"graph", "op_type", "domain", "overload", "g", "t", "sparse_tensor", "data_location", "name", "type"}
    | {"tensor_type", "elem_type", "shape", "dim_value", "values", "indices", "version"}
)
