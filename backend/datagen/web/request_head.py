"""The head of an HTTP request, checked in time linear in its length before waitress parses it.

waitress matches the request line and each header with regular expressions. For some heads they take quadratic time: a
request line of 16 KiB takes 20 s, and the GIL is held. For a head that passes the checks here they take linear time;
the blanks around values are removed for this.

The checks also refuse three kinds of input that servers interpret differently: bodies without a length, continued
header lines, and control characters. Label Studio and browsers never send them.
"""

from __future__ import annotations

import string

from waitress.parser import HTTPRequestParser, ParsingError
from waitress.utilities import BadRequest, Error, RequestHeaderFieldsTooLarge

#: Maximum bytes of a request line, bytes of the whole head, and number of header fields. The request line of an image
#: link has about 250 bytes.
LONGEST_LINE, LONGEST_HEAD, MAX_FIELDS = 4094, 32 * 1024, 50

_TOKEN = (string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~").encode()
_VERSIONS = (b"HTTP/1.0", b"HTTP/1.1")
#: Control characters that a value must not contain; the tab is allowed.
_CONTROLS = bytes(code for code in (*range(32), 127) if code != ord("\t"))


class _TooLong(Error):  # type: ignore[misc]
    code, reason = 414, "URI Too Long"


class _LengthRequired(Error):  # type: ignore[misc]
    code, reason = 411, "Length Required"


class BoundedParser(HTTPRequestParser):  # type: ignore[misc]
    """waitress's parser, preceded by the checks of this module."""

    #: The error that a check found, which replaces waitress's “Bad Request”; None if the head passed.
    refusal: Error | None = None
    empty: bool

    def received(self, data: bytes) -> int:
        """Parse more bytes of the request, and return the number of bytes consumed."""
        taken: int = super().received(data)
        if self.refusal is not None:
            self.error = self.refusal
        elif self.empty:  # blank lines in place of a request could continue forever
            self.empty, self.error = False, BadRequest("")
        return taken

    def parse_header(self, header_plus: bytes) -> None:
        """Check the head, then parse it.

        Raises:
            ParsingError: A check or waitress refuses the head.
        """
        line, _, rest = header_plus.partition(b"\r\n")
        self._check_request_line(line)
        fields = [field for field in rest.split(b"\r\n") if field]
        if len(fields) > MAX_FIELDS:
            self._refuse(RequestHeaderFieldsTooLarge(""))
        plain = [self._plain_field(field) for field in fields]
        try:
            super().parse_header(b"".join(part + b"\r\n" for part in (line, *plain)))
        except ValueError as fault:  # a URI that urllib cannot split, a length of thousands of digits
            raise ParsingError("not a valid request") from fault

    def _check_request_line(self, line: bytes) -> None:
        if len(line) > LONGEST_LINE:
            self._refuse(_TooLong(""))
        parts = line.split(b" ")
        if len(parts) != 3 or parts[2] not in _VERSIONS or not parts[0] or parts[0].strip(_TOKEN):
            raise ParsingError("not a valid request line")
        if not parts[1] or parts[1].translate(None, _CONTROLS + b"\t") != parts[1]:
            raise ParsingError("not a valid URI")

    def _plain_field(self, field: bytes) -> bytes:
        name, colon, value = field.partition(b":")
        if not colon or not name or name.strip(_TOKEN) or value.translate(None, _CONTROLS) != value:
            raise ParsingError("not a valid header")
        if name.lower() == b"transfer-encoding":
            self._refuse(_LengthRequired(""))
        return name + b":" + value.strip(b" \t")

    def _refuse(self, refusal: Error) -> None:
        self.refusal = refusal
        raise ParsingError("refused")
