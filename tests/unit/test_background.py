"""Calls in threads: how many at a time, and which failure is raised."""

from __future__ import annotations

import threading
from contextvars import ContextVar

import pytest

from issuer_job.background import AT_ONCE, at_once

PATIENCE = 10.0


def test_results_are_in_the_order_of_the_items_and_so_many_calls_go_at_once() -> None:
    together = threading.Barrier(AT_ONCE)

    def call(number: int) -> int:
        together.wait(PATIENCE)
        return -number

    assert at_once(call, range(2 * AT_ONCE)) == [-number for number in range(2 * AT_ONCE)]


def test_each_call_sees_its_callers_context() -> None:
    word = ContextVar("word", default="none")
    word.set("the caller's")
    assert at_once(lambda _: word.get(), range(3)) == ["the caller's"] * 3


def test_never_more_than_that() -> None:
    lock, busy, most = threading.Lock(), set[int](), 0

    def call(number: int) -> None:
        nonlocal most
        with lock:
            busy.add(number)
            most = max(most, len(busy))
        with lock:
            busy.remove(number)

    at_once(call, range(200))
    assert 1 <= most <= AT_ONCE


@pytest.mark.parametrize("items", [[], [1]])
def test_one_alone_takes_no_thread(items: list[int]) -> None:
    assert at_once(lambda _: threading.get_ident(), items) == [threading.get_ident()] * len(items)


def test_the_first_failure_in_the_order_is_raised_whichever_comes_first() -> None:
    later_failed, begun = threading.Event(), list[int]()

    def call(number: int) -> None:
        begun.append(number)
        if number == 1:
            assert later_failed.wait(PATIENCE)
            raise ValueError("the first")
        if number == 2:
            later_failed.set()
            raise ValueError("another")

    with pytest.raises(ValueError, match="the first"):
        at_once(call, range(1000))
    assert {0, 1, 2} <= set(begun)
