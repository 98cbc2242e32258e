"""The encryption configuration. It is kept and told; nothing is encrypted here.

Source: the API reference of PutEncryptionConfig and EncryptionConfig. Whether the key exists is not checked: KMS is another service.
"""

from __future__ import annotations

import re
import time
from typing import Any

from localstack.aws.accounts import ACCOUNT_ID
from localstack.aws.errors import AwsError
from localstack.aws.xray.account import configuration
from localstack.store import Store

_SUBJECT = "encryption"

# The documentation's own example of a key id has nine digits in its first group.
_ID = r"(?:[0-9a-fA-F]{8,9}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|mrk-[0-9a-fA-F]{32})"
_ALIAS = r"alias/[a-zA-Z0-9/_-]{1,250}"
_KEY_ID = re.compile(_ID)
_KEY_ALIAS = re.compile(_ALIAS)
#: The ARN of a key, with its region and account as groups.
KEY_ARN = re.compile(rf"arn:aws[a-zA-Z-]*:kms:([a-z0-9-]+):([0-9]{{12}}):key/{_ID}")
_ANY_ARN = re.compile(rf"arn:aws[a-zA-Z-]*:kms:[a-z0-9-]+:[0-9]{{12}}:(?:key/{_ID}|{_ALIAS})")


class Encryption:
    """How the data of one account in one region is encrypted."""

    def __init__(self, store: Store, region: str) -> None:
        self._store = store
        self._arn = f"arn:aws:kms:{region}:{ACCOUNT_ID}:"

    def get(self) -> dict[str, Any]:
        """The API's EncryptionConfig; before the first change there is AWS's default encryption (NONE)."""
        members = configuration.read(self._store, _SUBJECT) or {"Type": "NONE", "changed": 0.0}
        settled = time.time() >= members.pop("changed") + configuration.SETTLING_SECONDS
        return members | {"Status": "ACTIVE" if settled else "UPDATING"}

    def put(self, kind: str, key: str | None) -> dict[str, Any]:
        """Set the type, NONE or KMS; a key belongs to KMS and to nothing else.

        A key is returned by its ARN, whatever form it was given in, as AWS does; an alias by the alias's ARN (ours: which key
        it stands for is KMS's to know).
        """
        members: dict[str, Any] = {"Type": kind}
        if kind == "KMS":
            if key is None:
                raise AwsError("InvalidRequestException", "Type KMS needs a KeyId")
            members["KeyId"] = self._key_arn(key)
        elif key is not None:
            raise AwsError("InvalidRequestException", "KeyId must be left out when Type is NONE")
        configuration.write(self._store, _SUBJECT, members | {"changed": time.time()})
        return members | {"Status": "UPDATING"}

    def _key_arn(self, key: str) -> str:
        if _ANY_ARN.fullmatch(key):
            return key
        if _KEY_ALIAS.fullmatch(key):
            return self._arn + key
        if _KEY_ID.fullmatch(key):
            return f"{self._arn}key/{key}"
        raise AwsError("InvalidRequestException", f"KeyId '{key[:100]}' is none of alias/<name>, a key id, and the ARN of either")
