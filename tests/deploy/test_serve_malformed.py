"""Thousands of requests that are wrong, made from the service's own description and from damaged pictures."""

import random
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from serving import png, served

from typed import untyped


def resident() -> float:
    """Memory of this process, in MiB."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_requests_made_from_the_description_find_no_fault():
    seen: dict[int, int] = {}
    with served(max_body=100_000) as service:
        schema = schemathesis.openapi.from_url(f"http://127.0.0.1:{service.port}/openapi.json")
        for operation in schema.get_all_operations():
            ask(untyped(operation).ok().as_strategy(), seen)
    assert not [status for status in seen if status >= 500 and status not in (501, 503)], seen


def ask(cases, seen: dict[int, int]) -> None:
    """Sends what the strategy makes, and counts the statuses of the answers."""

    @settings(
        max_examples=800, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    )  # fmt: skip
    @given(case=cases)
    def one(case) -> None:
        status = case.call().status_code
        seen[status] = seen.get(status, 0) + 1

    one()


@pytest.mark.slow
def test_ten_thousand_damaged_pictures_are_answered_and_memory_stays_flat():
    rng = random.Random(0)
    whole = [
        png(seed=k, size=(40, 30), kind=kind) for k, kind in enumerate(("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"))
    ]
    statuses: dict[int, int] = {}
    with served() as service:
        for number in range(10_000):
            content = bytearray(rng.choice(whole))
            for _ in range(rng.randint(1, 20)):
                content[rng.randrange(len(content))] = rng.randrange(256)
            answer = service.ask(body=bytes(content[: rng.randint(0, len(content))] if number % 3 else content))
            statuses[answer.status] = statuses.get(answer.status, 0) + 1
            if number == 2_000:
                before = resident()
        after = resident()
    assert set(statuses) <= {200, 413, 422}, statuses
    assert after - before < 50
