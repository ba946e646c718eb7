"""What a unit says it runs."""

from __future__ import annotations

from heliograph.manager.reports import BranchReport, GroupReport, Report
from heliograph.manager.view import Budgets
from heliograph.manager.wire.fields import (
    MAX_GROUPS,
    MAX_ITEMS,
    MAX_NAME,
    MAX_PLACES,
    Fields,
    Json,
    check_id,
    check_unit,
)

REPORTS = "unit/report"


def report_json(report: Report) -> Json:
    """A report as it is sent; its time and its unit are left to the reader."""
    budgets, measured = report.budgets, report.measured
    return {
        "name": report.name,
        "location": report.location,
        "domain": report.domain,
        "state": report.state.value,
        "budgets": {
            "groups": budgets.groups,
            "places": budgets.places,
            "limits": list(budgets.limits),
        },
        "measured": None if measured is None else list(measured),
        "serial": report.serial,
        "branches": [
            {
                "channel": one.channel,
                "source": one.source,
                "ingest": one.ingest,
                "epoch": one.epoch,
                "bitrate": one.bitrate,
                "bound": one.bound,
            }
            for one in report.branches
        ],
        "groups": [
            {"index": one.index, "channel": one.channel, "viewers": one.viewers}
            for one in report.groups
        ],
        "taken": list(report.taken),
    }


def parse_report(value: Json, unit: str, at: float) -> Report:
    """What ``unit`` sent, received ``at``; ``MalformedError`` where it is no report."""
    fields = Fields(REPORTS, value)
    budgets = fields.object("budgets")
    return Report(
        check_unit(REPORTS, "unit", unit),
        fields.text("name", MAX_NAME),
        at,
        fields.text("location", MAX_NAME),
        fields.state("state"),
        Budgets(
            budgets.whole("groups", MAX_GROUPS),
            budgets.whole("places", MAX_PLACES, least=1),
            budgets.amounts("limits"),
        ),
        None if fields.value("measured") is None else fields.amounts("measured"),
        fields.whole("serial"),
        tuple(_branch(one) for one in fields.objects("branches")),
        tuple(_group(one) for one in fields.objects("groups")),
        tuple(check_id(REPORTS, "taken", one) for one in fields.list("taken", MAX_ITEMS)),
        fields.text("domain", MAX_NAME, ""),
    )


def _branch(fields: Fields) -> BranchReport:
    return BranchReport(
        fields.channel("channel"),
        None if fields.value("source") is None else fields.unit("source"),
        fields.truth("ingest"),
        fields.whole("epoch"),
        fields.whole("bitrate"),
        fields.truth("bound", False),
    )


def _group(fields: Fields) -> GroupReport:
    return GroupReport(
        fields.whole("index", MAX_GROUPS),
        fields.channel("channel"),
        fields.whole("viewers", MAX_PLACES),
    )
