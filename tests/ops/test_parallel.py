"""Parts of a batch in threads: the same bits on any number of threads, bounded memory, and safe after a fork."""

import multiprocessing
import tracemalloc

import numpy as np
import pytest
from checking import normal
from threadpoolctl import ThreadpoolController

from convlens import ops
from convlens.ops.fast import correlate as _correlate
from convlens.ops.fast import parallel as _parallel

X, W = normal(12, 16, 20, 20).astype(np.float32), normal(24, 16, 3, 3, seed=1).astype(np.float32)


@pytest.fixture(autouse=True)
def _fresh_pool():
    yield
    _parallel._pool.cache_clear()


def results(threads, monkeypatch):
    monkeypatch.setattr(_parallel, "_threads", lambda: threads)
    _parallel._pool.cache_clear()
    with _parallel._one_thread_a_product, ops.fast():
        y = ops.conv2d(X, W, padding=1)
        pooled = ops.max_pool2d(y, 3, stride=2)
        strided = ops.conv2d_backward(y[:, :, ::2, ::2], X, W, padding=1, stride=2)
        return [y, *ops.conv2d_backward(y, X, W, padding=1), *strided, *ops.max_pool2d_backward(pooled, y, 3, stride=2)]


def test_results_have_the_same_bits_on_any_number_of_threads(monkeypatch):
    monkeypatch.setattr(_correlate, "WORTH_A_PART", 1_000_000)
    assert len(_parallel.split(len(X), 12 * 16 * 24 * 9 * 400, 1_000_000)) > 1
    for alone, together in zip(results(1, monkeypatch), results(3, monkeypatch), strict=True):
        assert np.array_equal(alone, together)


def test_parts_cover_the_batch_in_order():
    for n, macs in [(1, 10**9), (7, 10**9), (64, 10**12), (5, 0), (0, 0)]:
        parts = _parallel.split(n, macs)
        assert [i for part in parts for i in range(n)[part]] == list(range(n))


def test_the_threads_of_matrix_products_are_given_back_even_after_an_error(monkeypatch):
    monkeypatch.setattr(_parallel, "_threads", lambda: 2)
    before = [library.get_num_threads() for library in _parallel._blas()]

    def fails(part, workspace):
        raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        _parallel.run(fails, [slice(0, 1), slice(1, 2)], np.dtype(np.float32))
    assert [library.get_num_threads() for library in _parallel._blas()] == before


def test_a_limit_on_the_threads_of_matrix_products_holds_as_long_as_it_is_set_and_no_longer(monkeypatch):
    monkeypatch.setattr(_parallel, "usable_cores", lambda: 64)
    controller = ThreadpoolController()
    with controller.limit(limits=3, user_api="blas"):
        with controller.limit(limits=1, user_api="blas"):
            assert _parallel._threads() == 1
        free = _parallel._threads()
        assert free == max(library.num_threads for library in _parallel._blas())
        with _parallel._one_thread_a_product:  # our own limit is not the user's
            assert _parallel._threads() == free


def in_child(queue):
    queue.put(ops.conv2d(X, W).sum())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # forking a process with threads is what is tested
def test_a_forked_process_has_threads_of_its_own(monkeypatch):
    if "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("this system does not fork")
    monkeypatch.setattr(_parallel, "_threads", lambda: 2)
    expected = ops.conv2d(X, W).sum()  # the parent's threads exist now
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=in_child, args=(queue,))
    child.start()
    assert queue.get(timeout=60) == expected
    child.join(60)


def test_memory_of_the_fast_forms_beside_input_and_output_does_not_grow_with_the_batch():
    @ops.fast()
    def extra(n):
        x, w = np.zeros((n, 3, 224, 224), np.float32), np.zeros((8, 3, 7, 7), np.float32)
        tracemalloc.start()
        y = ops.conv2d(x, w, stride=2, padding=3)
        forward = tracemalloc.get_traced_memory()[1] - y.nbytes
        tracemalloc.reset_peak()
        ops.conv2d_backward(y, x, w, stride=2, padding=3)
        backward = tracemalloc.get_traced_memory()[1] - y.nbytes - x.nbytes
        tracemalloc.stop()
        return forward, backward

    patches_of_one_image = 3 * 49 * 112 * 112 * 4
    for four, sixteen in zip(extra(4), extra(16), strict=True):
        assert sixteen < 1.5 * four + (1 << 20)
        assert sixteen < 2 * patches_of_one_image
