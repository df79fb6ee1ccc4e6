"""What a service refuses, how it says so, and what clients that are slow, mean or gone cannot do to it."""

import contextlib
import json
import struct
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serving import PatientProtocol, by_brightness, classifier, png, served

from convlens.deploy.serve.settings import Settings


@pytest.fixture(scope="module")
def service():
    with served(max_body=20_000, max_pixels=10_000, max_images=5) as found:
        yield found


def refused(answer, status: int, words: str = "") -> bool:
    """Whether it is the JSON that the description promises."""
    error = answer.json["error"]
    assert (answer.status, error["status"]) == (status, status), answer
    assert error["id"] == answer.headers["x-request-id"]
    assert words in error["message"], error["message"]
    return True


def test_a_body_that_is_too_large_is_refused_by_its_header_before_it_is_read(service):
    with service.raw() as connection:
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000000\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 413 ")


def test_a_body_without_a_length_is_refused_when_it_grows_too_large(service):
    assert refused(service.ask(body=iter([bytes(9_000)] * 3), Transfer_Encoding="chunked"), 413, "20,000 bytes")


def test_a_picture_of_too_many_pixels_is_refused_by_its_header(service):
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 200, 100, 8, 0, 0, 0, 0)
    nothing_inside = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"damaged") + chunk(b"IEND", b"")
    assert refused(service.ask(body=nothing_inside), 413, "200 x 100 pixels")


def test_too_many_pictures_are_refused(service):
    assert refused(service.form(*((str(k), png()) for k in range(6))), 413)
    many = json.dumps({"images": [""] * 6})
    assert refused(service.ask(body=many, Content_Type="application/json"), 413, "6 images")
    assert service.form(*((str(k), png()) for k in range(5))).status == 200


def test_other_types_of_body_are_refused(service):
    for kind in ("text/html", "application/xml", "video/mp4", "nonsense"):
        assert refused(service.ask(body=png(), Content_Type=kind), 415, kind)


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{", "null", '{"image": 3}', '{"images": [3]}', '{"images": []}', '{"images": "a"}', '{"image": "%"}',
     '{"image": "", "images": []}', "[" * 9_000, '{"image": "iVBORw0KGgo="}'],
)  # fmt: skip
def test_json_that_is_none_or_says_something_else_is_refused(service, content):
    assert refused(service.ask(body=content, Content_Type="application/json"), 422)


def test_forms_that_are_damaged_or_hold_text_are_refused(service):
    text = b'--cut\r\nContent-Disposition: form-data; name="a"\r\n\r\ntext\r\n--cut--\r\n'
    for kind, content in (
        ("multipart/form-data", png()),
        ("multipart/form-data; boundary=cut", png()),
        ("multipart/form-data; boundary=cut", text),
        ("multipart/form-data; boundary=cut", text[:40]),
        ("multipart/form-data; boundary=cut", b"--cut--\r\n"),
        ("multipart/form-data; boundary=cut; charset=nonsense", text.replace(b"cut--", b"cat--")),
    ):
        assert refused(service.ask(body=content, Content_Type=kind), 422), (kind, content)


def test_what_is_no_picture_is_refused(service):
    for content in (b"", b"no picture", png()[:40], png(kind="JPEG")[:100]):
        assert refused(service.ask(body=content), 422)


def test_other_paths_and_methods_are_refused(service):
    assert refused(service.ask("/predict"), 405)
    assert refused(service.ask("/../etc/passwd"), 404)
    assert refused(service.ask("/explain", method="DELETE"), 405)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_body_however_mangled_is_a_fault_of_the_service(service, data):
    kinds = ["image/png", "application/json", "multipart/form-data; boundary=cut", "multipart/form-data; boundary=", ""]
    kind = data.draw(st.sampled_from(kinds))
    form = (
        b'--cut\r\nContent-Disposition: form-data; name="f"; filename="a.png"\r\n\r\n'
        + png(seed=1)
        + b"\r\n--cut--\r\n"
    )
    whole = data.draw(
        st.sampled_from([png(seed=1), png(seed=2, kind="JPEG"), png(seed=3, kind="GIF"), form, b'{"image": ""}'])
    )
    mangled = bytearray(whole)
    for place, value in data.draw(st.lists(st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255)), max_size=6)):
        mangled[place] = value
    cut = data.draw(st.integers(0, len(mangled)))
    answer = service.ask(body=bytes(mangled[:cut]), Content_Type=kind)
    assert answer.status in (200, 413, 415, 422), answer
    json.loads(answer.content)


def test_more_than_may_wait_is_refused_with_429_and_what_waits_too_long_with_503():
    free = threading.Event()
    free.set()

    def network(x):
        time.sleep(0.003)  # or it would be run without a thread
        free.wait(20)
        return by_brightness(x)

    with served(classifier(network), queue=2, deadline=0.6) as service, ThreadPoolExecutor(12) as pool:
        free.clear()
        answers = [one.result() for one in [pool.submit(service.ask, body=png()) for _ in range(12)]]
        statuses = sorted(one.status for one in answers)
        assert set(statuses) == {429, 503}
        assert statuses.count(503) <= 4  # two in the network, two that waited
        assert all(int(one.headers["retry-after"]) >= 1 for one in answers)
        free.set()
        time.sleep(0.1)
        assert service.ask(body=png()).status == 200


def test_a_fault_behind_the_door_tells_the_client_nothing_and_the_service_goes_on():
    broken = []

    def network(x):
        if broken:
            raise ZeroDivisionError("/secret/path")
        return by_brightness(x)

    with served(classifier(network)) as service:
        broken.append(True)
        answer = service.ask(body=png())
        assert refused(answer, 500)
        assert b"secret" not in answer.content
        assert b"Traceback" not in answer.content
        broken.clear()
        assert service.ask(body=png()).status == 200


def test_without_the_key_only_health_and_the_page_are_answered():
    key = "correct-horse-battery"
    with served(key=key) as service:
        for wrong in ({}, {"X_API_Key": "wrong"}, {"Authorization": "Bearer " + key[:-1]}, {"Authorization": key}):
            assert refused(service.ask(body=png(), **wrong), 401)
            assert service.ask("/metrics", **wrong).status == 401
        for right in ({"X_API_Key": key}, {"Authorization": f"Bearer {key}"}, {"Authorization": f"bearer {key}"}):
            assert service.ask(body=png(), **right).status == 200
        assert [service.ask(path).status for path in ("/healthz", "/readyz", "/", "/page.js")] == [200] * 4


def test_a_name_that_is_not_the_services_is_refused(service):
    for name in ("evil.example", "evil.example:80", "localhost.evil.example", "", "1.2.3.4"):
        assert refused(service.ask("/healthz", Host=name), 421)
    for name in ("localhost", "localhost:8000", "127.0.0.1:1", "[::1]:8000", "LOCALHOST"):
        assert service.ask("/healthz", Host=name).status == 200


def test_a_service_for_other_machines_is_called_by_addresses_and_by_names_that_were_allowed(tmp_path):
    everywhere = Settings(tmp_path, host="0.0.0.0", hosts=("photos.example",))
    assert all(map(everywhere.may_be_called, ("10.0.0.7:8000", "[fe80::1]:80", "photos.example", "Photos.example:443")))
    assert not everywhere.may_be_called("evil.example")
    assert Settings(tmp_path, hosts=("*",)).may_be_called("evil.example")


def test_a_header_that_does_not_come_or_does_not_end_closes_its_connection(service, monkeypatch):
    monkeypatch.setattr(PatientProtocol, "patience", 0.3)
    for beginning in (b"", b"POST /pre", b"POST /predict HTTP/1.1\r\nHost: localhost\r\nX-Slow: "):
        with service.raw() as connection:
            connection.sendall(beginning)
            assert connection.recv(4096).startswith(b"HTTP/1.1 408 ")
            assert connection.recv(4096) == b""
    with service.raw() as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n")
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < 10_000_000:
                sent += connection.send(b"X-%d: %s\r\n" % (sent, b"a" * 1000))
        assert sent < 10_000_000  # it hung up
    assert service.ask("/healthz").status == 200


def test_a_body_that_does_not_come_gets_408_and_a_client_that_goes_costs_nothing(service, monkeypatch):
    monkeypatch.setattr(PatientProtocol, "patience", 0.3)
    with service.raw() as connection:
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500\r\n\r\nhalf")
        assert connection.recv(4096).startswith(b"HTTP/1.1 408 ")
    for _ in range(20):
        with service.raw() as connection:
            connection.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500\r\n\r\nhalf")
    whole = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(png()) + png()
    for _ in range(20):
        with service.raw() as connection:
            connection.sendall(whole)
    assert service.ask(body=png()).status == 200


def test_settings_that_make_no_sense_are_refused_before_anything_starts(tmp_path):
    from convlens.base.errors import InputError

    wrongs: list[dict[str, Any]] = [{"key": "short"}, {"key": "with spaces in between"}, {"deadline": 0}, {"queue": 0}]
    for wrong in [*wrongs, {"cost": 1e9}]:
        with pytest.raises(InputError):
            Settings(tmp_path, **wrong)
