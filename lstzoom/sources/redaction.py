"""What must never be seen: tokens, signatures and passwords taken out of texts."""

from __future__ import annotations

import logging
import re
from typing import Final

_SECRETS: Final = re.compile(
    # In an address, also in one that is part of another and therefore encoded.
    r"(?i)((?:[?&;]|%3f|%26)(?:sig|signature|x-amz-[a-z-]+|x-goog-[a-z-]+|token|access_token|key|apikey|"
    r"awsaccesskeyid|expires|se|st|sp|sv|sr|skoid|sktid|ske|skt|sks|skv|policy|key-pair-id|jwt|auth|hdnea|hdnts)"
    r"(?:=|%3d)|\b(?:signature|credential)=)[^&\s'\",]*"
)
_NAME: Final = (
    r"[\w.-]{0,40}(?:secret|passw(?:or)?d|secret[_-]?key|account[_-]?key|access[_-]?key|"
    r"(?:access|refresh|security|session|id|auth|bearer)[_-]?token)"
)
_NAMED: Final = re.compile(
    rf"(?i)(\b{_NAME}=['\"]?|['\"]{_NAME}['\"]\s*:\s*['\"]|\bcookie:\s*)[^\s'\",;&}}]+"
)
"""Settings and fields of JSON."""
_HEADERS: Final = re.compile(
    r"(?i)((?:authorization|[\w-]*api-?key|subscription-key|bearer)['\"]?(?:\s*[:=]\s*|\s+)['\"]?"
    r"(?:(?:bearer|basic|digest|negotiate) )?)"
    r"[^\s'\",}]{4,}"
)
_IN_ADDRESS: Final = re.compile(r"(?i)([a-z][a-z0-9+.-]*://)[^/@\s]+@")


def redact(text: str) -> str:
    """Take tokens and passwords out of a text.

    Examples
    --------
    >>> redact("cannot open https://u:p@a.b/c.tif?x=1&sig=secret%3D&se=2030 now")
    'cannot open https://***@a.b/c.tif?x=1&sig=***&se=*** now'
    """
    hidden = _NAMED.sub(r"\1***", _HEADERS.sub(r"\1***", _SECRETS.sub(r"\1***", text)))
    return _IN_ADDRESS.sub(r"\1***@", hidden)


def plain(href: str) -> str:
    """Return an address as it may be shown: without query and password."""
    return _IN_ADDRESS.sub(r"\1***@", href.partition("?")[0])


class Redaction(logging.Filter):
    """Takes secrets out of what is logged: rasterio and the STAC client log whole addresses."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Replace message and traceback; let every record pass."""
        record.msg, record.args = redact(record.getMessage()), None
        if record.exc_info and not record.exc_text:
            record.exc_text = redact(logging.Formatter().formatException(record.exc_info))
        return True
