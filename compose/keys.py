"""Whether every backend that is on has the keys it cannot do without. Asked before anything starts."""

from __future__ import annotations

from compose.settings import Backend, ConfigurationError, Settings

_OR_LEAVE_OUT = "set it in .env, or leave xray and cloudwatch out of BACKENDS"


def check(settings: Settings) -> None:
    """Raise ConfigurationError, with one line that names the setting, when a key is missing.

    Online, AWS credentials may come from boto3's own chain (a profile, a role): whether it finds any is asked, not whether they are valid.
    """
    settings.check_keys()
    if settings.mode == "offline" or not {Backend.XRAY, Backend.CLOUDWATCH} & settings.backends:
        return
    key, secret = settings.aws_access_key_id, settings.aws_secret_access_key.get_secret_value()
    if key and secret:
        return
    if key or secret:
        raise ConfigurationError(f"{'AWS_SECRET_ACCESS_KEY' if key else 'AWS_ACCESS_KEY_ID'} is empty; {_OR_LEAVE_OUT}")
    # Only here: it takes a moment, and offline nobody needs it.
    import botocore.exceptions
    import botocore.session

    try:
        found = botocore.session.Session().get_credentials()
    except botocore.exceptions.BotoCoreError as error:
        raise ConfigurationError(f"AWS credentials cannot be had: {error}; mend that, or set AWS_ACCESS_KEY_ID in .env") from None
    if found is None:
        raise ConfigurationError(f"AWS_ACCESS_KEY_ID is empty, and boto3 finds no credentials elsewhere (profile, role); {_OR_LEAVE_OUT}")
