"""Tell the stores which of our value types may travel. Import this before you read or write one."""

from ami.result import Events, Result
from ami.stores import codec
from ami.values import VALUE_TYPES, Label

for _type in (*VALUE_TYPES, Events, Label, Result):
    codec.register(_type)
