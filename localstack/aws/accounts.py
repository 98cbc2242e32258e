"""Whose account the local AWS is. moto answers ``sts get-caller-identity`` with the same id."""

from __future__ import annotations

ACCOUNT_ID = "123456789012"
