"""A collector for tests: a real HTTP server that parses what comes with OpenTelemetry's own protocol classes."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span

__all__ = ["Collector", "collector"]


class Collector:
    """What has come so far."""

    def __init__(self) -> None:
        self.endpoint = ""
        self.spans: list[Span] = []
        self.services: set[str] = set()
        self.metrics: dict[str, Metric] = {}
        self.logs: list[LogRecord] = []
        self.answer = 200
        """What is answered."""
        self.asked = 0
        self.paths: set[str] = set()
        self._changed = threading.Condition()

    def take(self, path: str, body: bytes) -> int:
        """Take in a request; return the status."""
        with self._changed:
            self.asked += 1
            self.paths.add(path)
            if self.answer == 200 and path == "/v1/traces":
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    self.services |= {
                        a.value.string_value for a in resource.resource.attributes if a.key == "service.name"
                    }
                    self.spans += [span for scope in resource.scope_spans for span in scope.spans]
            elif self.answer == 200 and path == "/v1/metrics":
                for metrics in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                    self.metrics |= {each.name: each for scope in metrics.scope_metrics for each in scope.metrics}
            elif self.answer == 200 and path == "/v1/logs":
                for logs in ExportLogsServiceRequest.FromString(body).resource_logs:
                    self.logs += [each for scope in logs.scope_logs for each in scope.log_records]
            self._changed.notify_all()
            return self.answer

    def wait(self, until: str, seconds: float = 30.0) -> None:
        """Wait until ``spans``, ``metrics``, ``logs`` or a request (``asked``) is here; on a worker thread."""
        with self._changed:
            assert self._changed.wait_for(lambda: bool(getattr(self, until)), seconds), f"nothing has come: {until}"


@contextmanager
def collector() -> Iterator[Collector]:
    """Serve a collector on a free port for the duration of the block."""
    there = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            self.send_response(there.take(self.path, body))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        there.endpoint = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield there
        finally:
            server.shutdown()
            thread.join()
