"""Telemetry: traces of sessions and their jobs, and the mainframe's metrics, by way of OpenTelemetry.

``traces`` is pure and has the ids; ``current`` joins them with OpenTelemetry's current context, for those who start
sessions and for blocks; ``exporting`` records spans and pushes metrics, where a mainframe is told to. The last two are
the door through which ``opentelemetry`` enters, and are imported when it is wanted.
"""

from .traces import Trace

__all__ = ["Trace"]
