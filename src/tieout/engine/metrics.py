"""Prometheus metrics, by the names of the field: base units, low cardinality, never an id."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class Metrics:
    """The registry of one hub and the series that the engine writes."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.events = Counter(
            "o2c_events_received", "Events taken in", ["source", "result"], registry=self.registry
        )
        self.forged = Counter(
            "o2c_webhook_signature_failures",
            "Webhooks with a wrong signature",
            ["source"],
            registry=self.registry,
        )
        self.effects = Counter(
            "o2c_effects",
            "Outside writes by outcome",
            ["system", "operation", "outcome"],
            registry=self.registry,
        )
        self.in_doubt = Counter(
            "o2c_in_doubt_resolved", "In-doubt writes by way out", ["way"], registry=self.registry
        )
        self.runs = Counter("o2c_runs", "Runs by outcome", ["flow", "outcome"], registry=self.registry)
        self.run_seconds = Histogram(
            "o2c_step_duration_seconds", "Seconds of one run", ["flow"], registry=self.registry
        )
        self.requests = Counter(
            "o2c_provider_requests",
            "Calls to outside systems",
            ["system", "operation", "code"],
            registry=self.registry,
        )
        self.lanes = Gauge("o2c_lane_backlog", "Lanes by state", ["state"], registry=self.registry)
        self.unknown = Gauge("o2c_effects_unknown", "Writes in doubt", registry=self.registry)
        self.exceptions = Gauge("o2c_exceptions_open", "Open exceptions", registry=self.registry)
        self.circuits = Gauge(
            "o2c_circuit_state",
            "Operations that are left alone after many failures",
            ["system"],
            registry=self.registry,
        )
        self.clock_skew = Gauge(
            "o2c_clock_skew_seconds", "The database's clock before this machine's", registry=self.registry
        )
        self.retries = Counter("o2c_retries", "Runs put off", ["reason"], registry=self.registry)
        self.lost_wakeups = Counter(
            "o2c_lost_wakeups", "Waits that only the sweep woke; must stay 0", registry=self.registry
        )
        self.invariants = Gauge(
            "o2c_invariant_violations", "Rows that break an invariant", ["id"], registry=self.registry
        )
        self.announced = Counter(
            "o2c_announcements", "Deliveries to receivers", ["receiver", "result"], registry=self.registry
        )
        self.outbox_age = Gauge(
            "o2c_outbox_age_seconds",
            "Age of the oldest event not delivered",
            ["receiver"],
            registry=self.registry,
        )
        self.build = Gauge("o2c_build_info", "Version", ["version"], registry=self.registry)
