"""Nested lists, tuples and dicts."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

import pytest

from nnx.tree import leaves, map_leaves


class Point(NamedTuple):
    x: object
    y: object


TREE = {"b": [1, (2, Point(3, None))], "a": 4, "empty": [], "none": {}}


def test_a_map_keeps_the_structure():
    assert map_leaves(lambda a: None if a is None else -a, TREE) == {
        "b": [-1, (-2, Point(-3, None))],
        "a": -4,
        "empty": [],
        "none": {},
    }
    assert type(map_leaves(str, TREE)["b"][1][1]) is Point
    assert map_leaves(str, 1) == "1"


def test_a_map_over_several_trees():
    assert map_leaves(lambda *a: sum(a), {"x": [1, 2]}, {"x": (10, 20)}, {"x": [100, 200]}) == {"x": [111, 222]}


def test_dicts_keep_the_order_of_their_keys():
    assert leaves(TREE) == [1, 2, 3, None, 4]
    assert list(map_leaves(str, OrderedDict(z=1, a=2))) == ["z", "a"]


@pytest.mark.parametrize(("tree", "other"), [([1, 2], [1]), ((1,), (1, 2)), ({"a": 1}, {"b": 1})], ids=str)
def test_trees_of_two_structures_do_not_map(tree, other):
    with pytest.raises((ValueError, KeyError)):
        map_leaves(lambda a, b: a, tree, other)
    with pytest.raises((ValueError, KeyError)):
        map_leaves(lambda a, b: a, [0, tree], [0, other])


def test_leaves_of_a_leaf():
    assert leaves(None) == [None]
    assert leaves([]) == []
