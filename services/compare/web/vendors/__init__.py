"""The vendors' own pages, each through its vendor's public API: what one would see in the vendor's console.

A vendor is a module with a ``blueprint`` below ``/vendors/<name>``, a folder of templates of that name, and a line here.
"""

from __future__ import annotations

from dataclasses import dataclass

from flask import Blueprint

from compose.settings import Backend
from services.compare.web.vendors import cloudwatch, honeycomb, rollbar, xray


@dataclass(frozen=True)
class Vendor:
    """``home``: the endpoint of its first page."""

    backend: Backend
    label: str
    blueprint: Blueprint
    home: str


VENDORS: tuple[Vendor, ...] = (
    Vendor(Backend.HONEYCOMB, "Honeycomb", honeycomb.blueprint, "honeycomb.datasets"),
    Vendor(Backend.XRAY, "X-Ray", xray.blueprint, "xray.service_map"),
    Vendor(Backend.CLOUDWATCH, "CloudWatch", cloudwatch.blueprint, "cloudwatch.groups"),
    Vendor(Backend.ROLLBAR, "Rollbar", rollbar.blueprint, "rollbar.items"),
)
