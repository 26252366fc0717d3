"""What a strategy returns, in the form of the global arrays."""

import numpy as np
import pytest

from fedmeta_flwr.protocol.messages import from_record, to_record
from strategies.rules.conform import conform

GLOBAL = to_record({"a": np.zeros(2, np.float32), "b": np.zeros((), np.float32)})


def test_aggregated_arrays_have_the_order_and_the_dtypes_of_the_global_ones() -> None:
    found = from_record(conform(to_record({"b": np.array(3.0), "a": np.array([1.0, 2.0])}), GLOBAL))
    assert [(name, str(array.dtype), array.tolist()) for name, array in found.items()] == [
        ("a", "float32", [1.0, 2.0]),
        ("b", "float32", 3.0),
    ]


@pytest.mark.parametrize("number", [np.nan, np.inf, 1e300, -1e39])
def test_numbers_that_the_global_arrays_cannot_hold_are_refused(number: float) -> None:
    with pytest.raises(ValueError, match="array 'a': expected finite numbers in the range of float32"):
        conform(to_record({"a": np.array([1.0, number]), "b": np.array(0.0)}), GLOBAL)


def test_other_names_and_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="expected the arrays"):
        conform(to_record({"a": np.zeros(2)}), GLOBAL)
    with pytest.raises(ValueError, match=r"array 'b': expected shape \(\), found \(1,\)"):
        conform(to_record({"a": np.zeros(2), "b": np.zeros(1)}), GLOBAL)
