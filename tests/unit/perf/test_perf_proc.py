"""Reading what a process costs."""

import os

import pytest
from tests.perf import proc


def test_process_times_survive_blanks_and_brackets_in_the_name():
    text = "12 (a) b (c) S 1 2 3 0 -1 4194560 9 0 0 0 150 25 0 0 20 0 1 0 5 6 7"
    assert proc.parse_stat(text) == 175


def test_core_time_leaves_out_idle_and_waiting():
    text = "cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 10 1 20 1000 50 2 3 4 0 0\ncpu1 1 1 1 1 1 1 1 1 0 0\n"
    assert proc.parse_core(text, 0) == 40
    with pytest.raises(ValueError, match="core 7"):
        proc.parse_core(text, 7)


def test_datagrams_count_what_was_dropped_for_a_full_buffer():
    text = (
        "Tcp: A\nTcp: 1\n"
        "Udp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors\nUdp: 100 1 9 50 7\n"
        "UdpLite: InDatagrams\nUdpLite: 3\n"
    )
    assert proc.parse_datagrams(text) == 107


def test_a_tree_contains_its_root_and_costs_something():
    assert proc.tree(os.getpid())[0] == os.getpid()
    assert proc.memory_kib(os.getpid()) > 0


def test_costs_are_subtracted_field_by_field():
    assert proc.Cost(5, 7, 9) - proc.Cost(1, 2, 3) == proc.Cost(4, 5, 6)
