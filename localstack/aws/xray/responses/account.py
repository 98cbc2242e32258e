"""What holds for the whole account: encryption."""

from __future__ import annotations

from typing import Any

from localstack.aws.xray.models import XRay
from localstack.aws.xray.responses.common import Handler, Members


class AccountResponses:
    def __init__(self, xray: XRay) -> None:
        self._xray = xray
        self.handlers: dict[str, Handler] = {
            "GetEncryptionConfig": self.get_encryption_config,
        }

    def get_encryption_config(self, _: Members) -> dict[str, Any]:
        return {"EncryptionConfig": {"Status": "ACTIVE", "Type": "NONE"}}
