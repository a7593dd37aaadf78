"""Telemetry: traces of sessions and their jobs, and the mainframe's metrics, by way of OpenTelemetry.

``traces`` is pure and has the ids; ``current`` joins them with OpenTelemetry's current context, for those who start
sessions and for blocks; ``spans`` and ``blocklogs`` record what a mainframe sees, ``exporting`` pushes that and its
metrics. These three are the door through which ``opentelemetry`` enters, and are imported when it is wanted; of what
``current`` needs it looks whether it is there.
"""

from .traces import Trace

__all__ = ["Trace"]
