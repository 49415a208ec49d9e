"""What must never be seen: tokens, signatures and passwords taken out of texts."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any, Final

_IN_QUERY: Final = re.compile(
    # In an address, also in one that is part of another and therefore encoded, or in JSON.
    r"(?i)((?:[?&;]|%3f|%26|\\u0026)(?:sig|signature|x-amz-[a-z-]+|x-goog-[a-z-]+|token|access_token|key|"
    r"apikey|awsaccesskeyid|expires|se|st|sp|sv|sr|skoid|sktid|ske|skt|sks|skv|policy|key-pair-id|jwt|auth|"
    r"hdnea|hdnts)(?:=|%3d))[^&\s'\",]*"
)
_QUOTED: Final = r"(?P<quote>\\*['\"])(?s:.*?)(?:(?<!\\)(?P=quote)|\Z)"
"""A text in quotes, up to the same quotes: as many backslashes stand before them as JSON lies within JSON."""
_NAME: Final = (
    r"(?:secret|passw(?:or)?d|passphrase|\bpwd|(?:secret|account|access|private|api)[_-]?key|token|"
    r"credentials?|\bsig|signature|\bjwt)"
)
_NAMED: Final = re.compile(
    # A setting, a field of JSON, or a line of YAML: a sentence after a colon has more than one word.
    rf"(?i)({_NAME}(?:\s*=\s*|\\*['\"]\s*[:=]\s*|:\s*(?=\\*['\"])|:[ \t]*(?=\S+[ \t]*(?m:$)))\[?\s*b?)"
    rf"(?:{_QUOTED}|[^\s'\",;&{{}}\[\]]+)"
)
_HEADER: Final = r"(?:authorization|cookie2?|api[_-]?key|subscription-key|x-[\w-]{0,40}token)"
_HEADERS: Final = re.compile(rf"(?i)({_HEADER}(?:\\*['\"]\s*[:=,]|\s*[:=])\s*[\[(]?\s*b?){_QUOTED}")
_HEADERS_IN_QUOTES: Final = re.compile(
    rf"(?i)(?P<before>(?P<quote>\\*['\"])[\w-]{{0,40}}{_HEADER}\s*:)(?s:.*?)(?:(?<!\\)(?P=quote)|\Z)"
)
_HEADER_LINES: Final = re.compile(
    rf"(?i)({_HEADER}:[ \t]*+|(?:authorization|cookie)=)(?!\\*['\"]?\*\*\*)[^\r\n]+"
)
_BEARER: Final = re.compile(r"(?i)(\bbearer\s+)[^\s'\",}]{4,}")
# A password may hold what an address may not; a number and a slash are a port and a path.
_IN_ADDRESS: Final = re.compile(r"(?i)([a-z][a-z0-9+.-]*://)(?:[^/\s'\"]*|[^/\s:@'\"]+:(?!\d+/)[^\s@'\"]*)@")


def redact(text: str) -> str:
    """Take tokens and passwords out of a text; rather too much than too little.

    Examples
    --------
    >>> redact("cannot open https://u:p@a.b/c.tif?x=1&sig=secret%3D&se=2030 now")
    'cannot open https://***@a.b/c.tif?x=1&sig=***&se=*** now'
    >>> redact('{"token": "one; two", "Cookie": "a=three; b=four", "bands": ["red"]}')
    '{"token": "***", "Cookie": "***", "bands": ["red"]}'
    """
    for pattern in (_HEADERS_IN_QUOTES, _HEADERS, _HEADER_LINES, _BEARER, _NAMED, _IN_QUERY):
        text = pattern.sub(_hidden, text)
    return _IN_ADDRESS.sub(r"\1***@", text)


def _hidden(found: re.Match[str]) -> str:
    """Keep the name and the quotes around the value."""
    parts = found.groupdict()
    quote = parts.get("quote") or ""
    return f"{found[1]} ***{quote}" if "before" in parts else f"{found[1]}{quote}***{quote}"


def redacted(content: Any) -> Any:  # noqa: ANN401  (whatever JSON holds)
    """Take tokens and passwords out of all texts of a document, which stays one."""
    if isinstance(content, str):
        return redact(content)
    if isinstance(content, Mapping):
        return {key: redacted(part) for key, part in content.items()}
    if isinstance(content, list | tuple):
        return [redacted(part) for part in content]
    return content


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
