"""What /metrics tells Prometheus: counts and times, never a key and never a word that anybody wrote.

Labels come from what we know, routes that exist and models that are served, so that no client can make new ones.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """Counters of one API process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)  # memory, open files, CPU time
        every = {"registry": self.registry}
        self.requests = Counter("bimedix_requests", "Requests answered", ["route", "status"], **every)
        self.seconds = Histogram("bimedix_request_seconds", "From a request's head to the end of its answer", ["route"], buckets=SECONDS, **every)
        self.first_token = Histogram("bimedix_first_token_seconds", "From a request's head to the first text of a stream", buckets=SECONDS, **every)
        self.tokens = Counter("bimedix_tokens", "Tokens read and written", ["model", "kind"], **every)
        self.in_flight = Gauge("bimedix_in_flight", "Requests worked on now", **every)
        self.queue = Gauge("bimedix_worker_queue", "Requests at the workers of a model", ["model"], **every)
        self.workers = Gauge("bimedix_workers", "Workers that serve a model", ["model"], **every)

    def seen(self, workers: list[dict]) -> None:
        """Set what the controller says of the workers now: {"models": [..], "queue_length": n} each."""
        self.queue.clear()
        self.workers.clear()
        for worker in workers:
            for model in worker["models"]:
                self.workers.labels(model).inc()
                self.queue.labels(model).inc(worker["queue_length"])

    def text(self) -> bytes:
        return generate_latest(self.registry)
