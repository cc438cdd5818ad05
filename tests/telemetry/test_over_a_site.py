"""A real site, a real broker, a real service and a collector: one trace from the first request to the last span."""

import json
import threading
import urllib.request
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests import servers
from tests.client.broker import until
from tests.client.sites import publish, state
from workflows.client import Services, TaskFailed
from workflows.tracecontext import TraceContext

pytestmark = pytest.mark.timeout(240)

TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
FIELDS = {"Content-Type": "application/json", "traceparent": f"00-{TRACE_ID}-{SPAN_ID}-01", "tracestate": "rojo=1"}


class Collector(ThreadingHTTPServer):
    """Takes spans over OTLP, as a collector does."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Taking)
        self.spans = []
        self.service_names = set()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def of(self, instance):
        return [span for span in self.spans if span["instance"] == instance]


class Taking(BaseHTTPRequestHandler):
    def do_POST(self):
        said = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"])))
        for resource in said.resource_spans:
            names = {one.key: one.value.string_value for one in resource.resource.attributes}
            self.server.service_names.add(names["service.name"])
            for span in (span for scope in resource.scope_spans for span in scope.spans):
                about = {one.key.removeprefix("orchestrator."): one.value.string_value for one in span.attributes}
                ids = {"trace": span.trace_id.hex(), "id": span.span_id.hex(), "parent": span.parent_span_id.hex()}
                self.server.spans.append({"name": span.name, **ids, **about})
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *said):
        pass


@pytest.fixture(scope="module")
def collector():
    server = Collector()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def inbound():
    return f"client-{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="module")
def site(tmp_path_factory, rabbitmq_url, inbound, collector):
    folder = tmp_path_factory.mktemp("site")
    where = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
    with servers.demo(folder, BROKER_URL=rabbitmq_url, INBOUND_QUEUE=inbound, TELEMETRY="1", **where) as site:
        yield site


@pytest.fixture(params=["amqp", "http"])
def services(request, site, rabbitmq_url, inbound):
    if request.param == "amqp":
        made = Services(rabbitmq_url, inbound_queue=inbound)
    else:
        made = Services(site.url, token=site.tokens["service-bot"], lease_seconds=30, poll_seconds=1)
    yield made
    made.stop(5)


def test_one_trace_from_the_request_through_the_service_and_back(site, services, collector):
    queue, heard = f"queue-{uuid.uuid4().hex[:8]}", []

    @services.service(queue)
    def work(task):
        heard.append(task.trace)
        if len(heard) == 1:
            raise TaskFailed("not_yet")
        task.trace = TraceContext(task.trace.trace_id, "abcdefabcdefabcd", state=task.trace.state)

    component = publish(
        site,
        {"task_name": "one", "task_queue": queue, "retry": {"max_attempts": 2}},
        {"task_name": "two", "task_queue": queue, "parent_task": ["one"]},
    )
    services.start()
    body = json.dumps({"component_name": component, "business_ref_no": "R-1"}).encode()
    headers = {**FIELDS, "Authorization": f"Bearer {site.tokens['service-bot']}"}
    with urllib.request.urlopen(urllib.request.Request(f"{site.url}/api/v1/instances/", body, headers)) as said:
        instance = json.load(said)["id"]
    until(lambda: state(site, instance) == "COMPLETED", seconds=60, what="the end")
    until(lambda: len(collector.of(instance)) == 5, seconds=30, what="the spans")

    spans = collector.of(instance)
    assert {span["trace"] for span in spans} == {TRACE_ID}
    (begun,) = [span for span in spans if span["name"] == "start Services"]
    assert begun["parent"] == SPAN_ID
    assert {span["parent"] for span in spans if span is not begun} == {begun["id"]}
    attempts = [(span["name"], span["outcome"], span["id"]) for span in spans if span["name"].startswith("task ")]
    assert [one[:2] for one in attempts] == [
        ("task one", "failed"),
        ("task one", "completed"),
        ("task two", "completed"),
    ]
    assert [one.span_id for one in heard] == [one[2] for one in attempts]
    assert {(one.trace_id, one.state) for one in heard} == {(TRACE_ID, "rojo=1")}
    assert collector.service_names == {"orchestrator"}
