"""A parser of Triton's ``config.pbtxt``: protocol buffers' own, given the part of ``model_config.proto`` used here."""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

Field = descriptor_pb2.FieldDescriptorProto
TYPES = (
    *("INVALID", "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64"),
    *("FP16", "FP32", "FP64", "STRING", "BF16"),
)


def _message(file: Any, message_name: str, /, **fields: tuple[int, int, bool, str]) -> None:
    message = file.message_type.add(name=message_name)
    for field, (number, kind, repeated, of) in fields.items():
        label = Field.LABEL_REPEATED if repeated else Field.LABEL_OPTIONAL
        message.field.add(
            name=field, number=number, type=kind, label=label, **({"type_name": f".triton.{of}"} if of else {})
        )


def _model_config() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="triton.proto", package="triton", syntax="proto3")
    enum = file.enum_type.add(name="DataType")
    for number, word in enumerate(TYPES):
        enum.value.add(name=f"TYPE_{word}", number=number)
    tensor = {
        "name": (1, Field.TYPE_STRING, False, ""),
        "data_type": (2, Field.TYPE_ENUM, False, "DataType"),
    }
    _message(file, "ModelInput", **tensor, dims=(4, Field.TYPE_INT64, True, ""))
    _message(file, "ModelOutput", **tensor, dims=(3, Field.TYPE_INT64, True, ""))
    _message(file, "ModelDynamicBatching")
    _message(
        file,
        "ModelConfig",
        name=(1, Field.TYPE_STRING, False, ""),
        platform=(2, Field.TYPE_STRING, False, ""),
        max_batch_size=(4, Field.TYPE_INT32, False, ""),
        input=(5, Field.TYPE_MESSAGE, True, "ModelInput"),
        output=(6, Field.TYPE_MESSAGE, True, "ModelOutput"),
        dynamic_batching=(11, Field.TYPE_MESSAGE, False, "ModelDynamicBatching"),
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("triton.ModelConfig"))


MODEL_CONFIG = _model_config()


def parse_config(text: str) -> Any:
    """Parse a configuration; unknown fields, types and mistakes of syntax are errors."""
    return text_format.Parse(text, MODEL_CONFIG())


def type_word(number: int) -> str:
    """Give Triton's word for a type."""
    return TYPES[number]
