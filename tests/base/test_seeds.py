"""Addressed randomness."""

import hashlib

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from convlens.base.errors import ConvlensError, DivergedError, InputError, Interrupted, nearest
from convlens.base.seeds import derive, generator


def test_a_seed_is_the_start_of_the_hash_of_its_address():
    digest = hashlib.blake2b(b"7/order/3", digest_size=8).digest()
    assert derive(7, "order", 3) == int.from_bytes(digest, "little") // 2


@given(seed=st.integers(-(2**63), 2**63), epoch=st.integers(0, 10**6))
@settings(deadline=None, max_examples=50)
def test_seeds_fit_every_generator(seed, epoch):
    assert 0 <= derive(seed, "dropout", epoch) < 2**63
    assert generator(seed, epoch).random(3).tolist() == generator(seed, epoch).random(3).tolist()


def test_neighboring_addresses_give_different_numbers():
    addresses = [(s, w, e) for s in range(10) for w in ("order", "augment") for e in range(50)]
    assert len({derive(*address) for address in addresses}) == len(addresses)


def test_numbers_of_neighboring_addresses_are_uncorrelated():
    draws = np.stack([generator(0, "order", epoch).random(2000) for epoch in range(20)])
    correlation = np.asarray(np.corrcoef(draws))[np.triu_indices(20, 1)]
    assert np.abs(correlation).max() < 5 / np.sqrt(2000)
    assert abs(draws.mean() - 0.5) < 5 * np.sqrt(1 / 12 / draws.size)


def test_each_error_knows_its_exit_code():
    assert [ConvlensError("").exit_code, InputError("").exit_code, DivergedError("").exit_code] == [1, 2, 3]
    assert [Interrupted("", 2).exit_code, Interrupted("", 15).exit_code] == [130, 143]
    assert isinstance(InputError(""), ValueError)


def test_the_nearest_name_is_offered_only_where_one_is_near():
    assert nearest("lenet", ["alexnet", "lenet5", "vgg16"]) == ", did you mean 'lenet5'?"
    assert nearest("zzz", ["alexnet", "lenet5"]) == ""
