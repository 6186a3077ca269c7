"""What Prometheus is told: the names, the counts of what was logged, and one snapshot of what is.

Owns every metric's name, help and labels (docs/metrics.md has the table) and what "healthy" means. Counts
come from the journal, so that log and metrics never disagree. DCGM's names, units and labels where DCGM has
one (docs.nvidia.com/datacenter/dcgm, field identifiers). Must not know HTTP, nor fetch anything itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric

from gateway.devices import Reading

LOOP_LATELY = 15.0
"""Seconds without a snapshot after which the broker's loop is held up."""
ENGINE_LATELY = 60.0
_MEBI = 1 << 20
_START_BUCKETS = (0.25, 0.5, 1, 2, 4, 8, 15, 30, 60)
_GPU_LABELS = ("gpu", "UUID", "device", "modelName", "Hostname", "user")
# Told as 0 from the start: nobody sees an increase of a counter that begins with 1.
_TROUBLE = ("entry_failed", "internal_error", "work_failed", "worker_broke_protocol", "worker_ended")
_LOGINS = {"login": "ok", "login_refused": "refused", "login_abandoned": "abandoned"}


@dataclass(frozen=True)
class Snapshot:
    """What is, at monotonic second `at`. `engine_at` is when the engine last answered, None for never.

    `holders` maps a GPU's id to its holder's name. `sessions` count by kind, `leases` and `health` (of the
    GPUs) by state.
    """

    at: float
    workers: int
    unproven: int = 0
    connections: int = 0
    sessions: Mapping[str, int] = field(default_factory=dict)
    leases: Mapping[str, int] = field(default_factory=dict)
    health: Mapping[str, int] = field(default_factory=dict)
    flagged: int = 0
    store_error: str | None = None
    engine_at: float | None = None
    readings: tuple[Reading, ...] = ()
    holders: Mapping[str, str] = field(default_factory=dict)


def trouble(snapshot: Snapshot | None, now: float) -> str | None:
    """Why the gateway is not healthy at monotonic second `now`, as one sentence; None when it is."""
    if snapshot is None:
        return "The gateway is starting."
    if now - snapshot.at > LOOP_LATELY:
        return f"The gateway's own loop has not answered for {now - snapshot.at:.0f} seconds."
    if not snapshot.workers:
        return "No worker is ready."
    if snapshot.store_error is not None:
        return f"The store does not answer: {snapshot.store_error}"
    if snapshot.engine_at is None or now - snapshot.engine_at > ENGINE_LATELY:
        return "The container engine has not answered lately."
    return None


class Metrics:
    """The registry of one gateway. `hear` and reading the registry are safe from any thread."""

    def __init__(self, hostname: str) -> None:
        """`hostname` is the label that DCGM's exporter calls Hostname."""
        self.snapshot: Snapshot | None = None
        self.registry = CollectorRegistry()
        self._hostname = hostname
        self._events = Counter(
            "gpu_gateway_events", "Lines of the log, by event.", ["event"], registry=self.registry
        )
        self._logins = Counter(
            "gpu_gateway_logins",
            "Connections that were let in, refused by the broker, or ended before they proved a key.",
            ["result"],
            registry=self.registry,
        )
        for event in _TROUBLE:
            self._events.labels(event)
        for result in _LOGINS.values():
            self._logins.labels(result)
        self._starts = Counter(
            "gpu_gateway_container_starts", "Containers started.", ["result"], registry=self.registry
        )
        for result in ("ok", "failed"):
            self._starts.labels(result)
        self._start_seconds = Histogram(
            "gpu_gateway_container_start_seconds",
            "Seconds from the wish for a container until it runs.",
            buckets=_START_BUCKETS,
            registry=self.registry,
        )
        ProcessCollector(registry=self.registry)
        self.registry.register(self)

    def hear(self, event: str, fields: Mapping[str, object]) -> None:
        """Count one line of the log."""
        self._events.labels(event).inc()
        if event in _LOGINS:
            self._logins.labels(_LOGINS[event]).inc()
        if event == "container_failed":
            self._starts.labels("failed").inc()
        if event == "container_started":
            self._starts.labels("ok").inc()
            seconds = fields.get("seconds")
            if isinstance(seconds, float):
                self._start_seconds.observe(seconds)

    def collect(self) -> Iterator[Metric]:
        """The gauges of the latest snapshot; called by the registry for each scrape."""
        snapshot = self.snapshot
        if snapshot is None:
            return
        yield from _gauges(snapshot)
        yield from _dcgm(snapshot, self._hostname)

    def describe(self) -> Iterable[Metric]:
        """Nothing: the registry need not scrape us to register us."""
        return ()


def _gauges(snapshot: Snapshot) -> Iterator[Metric]:
    yield _one("gpu_gateway_workers", "Worker processes that take connections.", snapshot.workers)
    yield _one("gpu_gateway_connections", "Authenticated connections.", snapshot.connections)
    yield _one("gpu_gateway_connections_unproven", "Connections still logging in.", snapshot.unproven)
    yield _by("gpu_gateway_sessions", "Open channels, by kind.", "kind", snapshot.sessions)
    yield _by("gpu_gateway_leases", "Leases that hold devices, by state.", "state", snapshot.leases)
    yield _one("gpu_gateway_leases_flagged", "Leases that an operator has to look at.", snapshot.flagged)
    gpus = {reading.parent or reading.id for reading in snapshot.readings}
    yield _one("gpu_gateway_gpus", "GPUs that the platform manages and that answer.", len(gpus))
    yield _by("gpu_gateway_gpu_states", "GPUs ever seen, by state.", "state", snapshot.health)
    held = {reading.parent or reading.id for reading in snapshot.readings if reading.id in snapshot.holders}
    yield _one("gpu_gateway_gpus_held", "Those of them that somebody holds, or a part of.", len(held))


def _dcgm(snapshot: Snapshot, hostname: str) -> Iterator[Metric]:
    families: dict[str, tuple[str, Callable[[Reading], float | None]]] = {
        "DCGM_FI_DEV_GPU_UTIL": ("GPU utilization (in %).", lambda r: r.utilization),
        "DCGM_FI_DEV_FB_USED": ("Framebuffer memory used (in MiB).", lambda r: _mebibytes(r.used)),
        "DCGM_FI_DEV_FB_FREE": ("Framebuffer memory free (in MiB).", lambda r: _mebibytes(r.free)),
        "DCGM_FI_DEV_GPU_TEMP": ("GPU temperature (in C).", lambda r: r.temperature),
        "DCGM_FI_DEV_POWER_USAGE": ("Power draw (in W).", lambda r: r.power),
    }
    for name, (text, of) in families.items():
        family = GaugeMetricFamily(name, text, labels=_GPU_LABELS)
        for reading in snapshot.readings:
            value = of(reading)
            if value is not None:
                holder = snapshot.holders.get(reading.id, "")
                place = (str(reading.index), reading.id, f"nvidia{reading.minor}", reading.model)
                family.add_metric((*place, hostname, holder), value)
        yield family


def _mebibytes(size: int | None) -> int | None:
    return None if size is None else size // _MEBI


def _one(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _by(name: str, text: str, label: str, values: Mapping[str, int]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=[label])
    for each, value in sorted(values.items()):
        family.add_metric((each,), value)
    return family
