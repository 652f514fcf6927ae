"""Streams are named: their draws depend on seed and name alone."""

import hashlib

import torch

from envs.rng_streams import Streams, spawn, stream_seed


def draws(streams, name, count=5):
    return torch.rand(count, generator=streams[name]).tolist()


def test_a_stream_depends_on_nothing_but_seed_and_name():
    plain, other = Streams(3), Streams(3)
    draws(other, "bonus", 100)  # another stream, used first and much
    assert draws(plain, "policy") == draws(other, "policy")
    assert draws(plain, "policy") != draws(plain, "bonus")
    assert draws(Streams(3), "policy") != draws(Streams(4), "policy")


def test_a_stream_goes_on_and_does_not_start_again():
    streams = Streams(0)
    assert draws(streams, "policy") != draws(streams, "policy")


def test_state_goes_on_where_it_stood_also_under_another_seed():
    first, second = Streams(1), Streams(2)
    draws(first, "policy")
    draws(second, "minibatches")
    second.load_state_dict(first.state_dict())
    assert draws(second, "policy") == draws(first, "policy")
    assert draws(second, "minibatches") == draws(first, "minibatches")  # unused there: starts from seed 1, not 2


def test_stream_seed_is_the_first_63_bits_of_sha256_of_its_path():
    digest = hashlib.sha256(b"7/evaluation/2").digest()
    assert stream_seed(7, "evaluation", 2) == int.from_bytes(digest[:8], "little") // 2
    assert 0 <= stream_seed(-1, "x") < 2**63
    seeds = {stream_seed(seed, name) for seed in range(50) for name in ("policy", "bonus", "init")}
    assert len(seeds) == 150


def test_generators_of_parts_start_apart_and_in_no_order():
    parent = torch.Generator().manual_seed(5)
    first = [torch.rand(2, generator=each).tolist() for each in spawn(parent, 3)]
    again = [torch.rand(2, generator=each).tolist() for each in reversed(spawn(parent.manual_seed(5), 3))]
    assert first == again[::-1]
    assert len({tuple(each) for each in first}) == 3
    assert torch.rand(2, generator=spawn(parent, 3)[0]).tolist() != first[0]  # the parent has moved on


def test_a_generator_of_one_part_is_the_parent():
    parent = torch.Generator().manual_seed(5)
    assert spawn(parent, 1) == [parent]
    assert spawn(parent, 0) == []
