"""bfloat16 in compiled loops: Numba has no such type, so arrays hold its bits as uint16.

A bfloat16 is the upper half of a float32. In loops, values are widened when they are read and narrowed when they are
written; arithmetic is in float32. Both functions leave other types as they are, so that a loop serves all of them.
"""

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

_INT16, _INT32, _FLOAT = ir.IntType(16), ir.IntType(32), ir.FloatType()
_NAN = 0x7FC0


def _widened(_: Any, value: Any) -> Any:
    if value != types.uint16:
        return value(value), lambda context, builder, signature, arguments: arguments[0]

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        bits = builder.shl(builder.zext(arguments[0], _INT32), _INT32(16))
        return builder.bitcast(bits, _FLOAT)

    return types.float32(value), generate


def _narrowed(_: Any, value: Any, like: Any) -> Any:
    if like != types.uint16:
        return value(value, like), lambda context, builder, signature, arguments: arguments[0]

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        number = arguments[0]
        bits = builder.bitcast(number, _INT32)
        is_odd = builder.and_(builder.lshr(bits, _INT32(16)), _INT32(1))
        rounded = builder.lshr(builder.add(bits, builder.add(is_odd, _INT32(0x7FFF))), _INT32(16))
        is_nan = builder.fcmp_unordered("uno", number, number)
        return builder.trunc(builder.select(is_nan, _INT32(_NAN), rounded), _INT16)

    return types.uint16(value, like), generate


widened: Any = intrinsic(_widened)
"""In a compiled function: return the float32 of a bfloat16's bits (uint16), or a float as it is."""

narrowed: Any = intrinsic(_narrowed)
"""In a compiled function: return a value in the type of a second one.

If that is uint16, these are the bits of the nearest bfloat16, of two the even one; otherwise the value as it is.
"""
