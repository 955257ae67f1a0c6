"""Traces (OpenTelemetry): one for each course of events, through HTTP, gRPC, the log, the relay and the followers.

Off unless `OTEL_EXPORTER_OTLP_ENDPOINT` says where spans go (decisions 99 and 100). A span says what was done, where,
for how long, and how it ended, in words of this code alone: methods, routes, types of events, positions, status codes.
Nothing that somebody sent stands in one.
"""
