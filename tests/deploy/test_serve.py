"""The service answers as the classifier does, whatever way pictures come, and however many come at once."""

import base64
import http.client
import io
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image
from serving import CLASSES, by_brightness, classifier, png, served

from convlens.classify.classifier import Classifier
from convlens.data import Preprocess
from convlens.deploy.serve.batching import LARGEST


@pytest.fixture(scope="module")
def service():
    with served() as found:
        yield found


def as_json(**content) -> dict:
    return {"body": json.dumps(content), "Content_Type": "application/json"}


def test_one_picture_gets_the_same_answer_by_every_way(service):
    content = png(seed=3)
    encoded = base64.b64encode(content).decode()
    expected = classifier().predict([content])[0]
    for answer in (
        service.ask(body=content),
        service.ask(body=content, Content_Type="image/png"),
        service.ask(body=iter([content[:20], content[20:]]), Transfer_Encoding="chunked"),
        service.ask(**as_json(image=encoded)),
        service.ask(**as_json(images=["data:image/png;base64," + encoded])),
        service.form(("a.png", content)),
    ):
        assert answer.status == 200, answer.content
        (found,) = answer.json["predictions"]
        assert (found["label"], found["probability"]) == (expected.label, expected.probability)
        assert [(one["label"], one["probability"]) for one in found["top"]] == list(expected.top)


def test_many_pictures_are_answered_in_their_order_and_the_unreadable_are_named(service):
    answer = service.form(("night.png", png(0)), ("notes.txt", b"no picture"), ("day.png", png(255)))
    assert answer.status == 200
    assert answer.json["failed"] == 1
    assert answer.labels == ["dark", None, "bright"]
    assert [one["name"] for one in answer.json["predictions"]] == ["night.png", "notes.txt", "day.png"]
    assert "not an image" in answer.json["predictions"][1]["error"]


def test_top_says_how_many_classes_are_ranked(service):
    assert [len(service.ask(f"/predict?top={n}", png()).json["predictions"][0]["top"]) for n in (1, 2, 9)] == [1, 2, 3]
    for wrong in ("0", "-1", "many", "9" * 40, "%D9%A3"):
        assert service.ask(f"/predict?top={wrong}", png()).status == 422


def test_requests_at_the_same_time_get_each_their_own_answers(service):
    def ask(seed: int) -> bool:
        values = np.random.default_rng(seed).choice([0, 128, 255], 1 + seed % 7)
        names = dict(zip([0, 128, 255], CLASSES, strict=True))
        answer = service.form(*((str(k), png(int(value))) for k, value in enumerate(values)))
        return answer.labels == [names[int(value)] for value in values]

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(ask, range(120)))


def test_a_large_request_is_split_and_no_batch_is_larger_than_what_was_measured():
    sizes = []

    def network(x):
        sizes.append(len(x))
        return by_brightness(x)

    with served(classifier(network), max_images=200) as service:
        warm = len(sizes)
        values = [0, 255] * 75
        answer = service.form(*((str(k), png(value)) for k, value in enumerate(values)))
        assert answer.labels == ["dark", "bright"] * 75
    assert max(sizes) <= LARGEST
    assert sum(sizes[warm:]) == 150


def test_what_waits_goes_through_the_network_together():
    sizes, free = [], threading.Event()
    free.set()

    def network(x):
        time.sleep(0.003)  # or it would be run without a thread
        free.wait(10)
        sizes.append(len(x))
        return by_brightness(x)

    with served(classifier(network)) as service, ThreadPoolExecutor(9) as pool:
        free.clear()
        sizes.clear()
        first = pool.submit(service.ask, body=png())
        while not _waits(service, 0):
            time.sleep(0.01)
        time.sleep(0.2)
        others = [pool.submit(service.ask, body=png(255)) for _ in range(8)]
        while not _waits(service, 8):
            time.sleep(0.01)
        free.set()
        assert first.result().status == 200
        assert {one.result().status for one in others} == {200}
    assert sizes == [1, 8]


def _waits(service, n: int) -> bool:
    return f"convlens_waiting {float(n)}" in service.ask("/metrics").content.decode()


def test_a_picture_of_any_size_and_mode_is_prepared_as_in_training(service):
    rng = np.random.default_rng(0)
    for mode, size in (("RGB", (900, 700)), ("RGBA", (40, 30)), ("P", (64, 64)), ("I;16", (50, 20)), ("L", (1, 1))):
        channels = {"RGB": 3, "RGBA": 4}.get(mode)
        shape = (*size[::-1], channels) if channels else size[::-1]
        kind = np.uint16 if mode == "I;16" else np.uint8
        pixels = rng.integers(0, np.iinfo(kind).max, shape, kind)
        picture = Image.fromarray(pixels) if mode != "P" else Image.fromarray(pixels).convert("P")
        out = io.BytesIO()
        picture.save(out, "PNG")
        expected = classifier().predict([out.getvalue()])[0]
        found = service.ask(body=out.getvalue()).json["predictions"][0]
        assert found["probability"] == expected.probability, mode


def test_it_says_when_it_is_alive_ready_and_what_it_is(service):
    assert service.ask("/healthz").json == {"status": "ok"}
    facts = service.ask("/readyz").json
    assert facts["status"] == "ready"
    assert facts["classes"] == list(CLASSES)
    assert facts["batch"] == LARGEST
    described = service.ask("/openapi.json").json
    assert set(described["paths"]) == {"/predict", "/explain", "/healthz", "/readyz", "/metrics"}
    assert service.ask("/").headers["content-type"].startswith("text/html")
    for path in ("/page.js", "/page.css"):
        assert service.ask(path).status == 200


def test_it_listens_before_the_network_is_warm_and_says_503_until_then():
    free = threading.Event()

    def network(x):
        free.wait(20)
        return by_brightness(x)

    with served(classifier(network), ready=False) as service:
        assert service.ask("/healthz").status == 200
        assert service.ask("/readyz").status == 503
        answer = service.ask(body=png())
        assert (answer.status, "retry-after" in answer.headers) == (503, True)
        free.set()
        while service.ask("/readyz").status != 200:
            time.sleep(0.01)
        assert service.ask(body=png()).status == 200


def test_metrics_count_requests_pictures_and_batches(service):
    before = _counted(service)
    service.ask(body=png())
    service.form(("a", png()), ("b", b"nothing"))
    service.ask(body=b"nothing")
    after = _counted(service)
    changed = {name: after[name] - before.get(name, 0) for name in after if after[name] != before.get(name, 0)}
    assert changed['convlens_requests_total{path="/predict",status="200"}'] == 2
    assert changed['convlens_requests_total{path="/predict",status="422"}'] == 1
    assert changed['convlens_pictures_total{result="answered"}'] == 2
    assert changed['convlens_pictures_total{result="unreadable"}'] == 2
    assert changed["convlens_batch_size_sum"] == 2


def _counted(service) -> dict[str, float]:
    lines = service.ask("/metrics").content.decode().splitlines()
    return {name: float(value) for line in lines if line[0] != "#" for name, _, value in [line.rpartition(" ")]}


def test_several_requests_go_over_one_connection(service):
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=10)
    for value, name in zip((0, 128, 255), CLASSES, strict=True):
        connection.request("POST", "/predict", png(value), {"X-Request-Id": f"mine-{value}"})
        response = connection.getresponse()
        assert response.getheader("x-request-id") == f"mine-{value}"
        assert json.loads(response.read())["predictions"][0]["label"] == name
    connection.close()


def test_grad_cam_is_a_png_of_the_picture_and_a_function_alone_gets_501(service):
    assert service.ask("/explain", png()).status == 501
    from torch import nn

    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 6, 3))
    with served(Classifier(module, Preprocess((8, 8), 1), CLASSES)) as explaining:
        answer = explaining.ask("/explain?class=bright", png(seed=1))
        assert answer.headers["content-type"] == "image/png"
        picture = Image.open(io.BytesIO(answer.content))
        assert picture.size == (320, 320)
        assert picture.mode == "RGB"
        unknown = explaining.ask("/explain?class=brigt", png())
        assert unknown.status == 422
        assert "did you mean" in unknown.message
        assert explaining.form(("a", png()), ("b", png()), path="/explain").status == 422


def test_small_answers_are_sent_at_once(service):
    """Without TCP_NODELAY an answer in two pieces waits 40 ms for the client's acknowledgement of the first."""
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=10)
    started = time.perf_counter()
    for _ in range(50):
        connection.request("POST", "/predict", png())
        connection.getresponse().read()
    connection.close()
    assert time.perf_counter() - started < 50 * 0.03
