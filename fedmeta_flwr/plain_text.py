"""Text that people write with an editor: UTF-8, with or without the byte order mark that editors on Windows add."""

import codecs

_OTHERS = {
    codecs.BOM_UTF32_LE: "UTF-32",  # before UTF-16, because it begins with UTF-16's mark
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


class TextError(ValueError):
    """Bytes that are not text in UTF-8; says which encoding they have, or where the first invalid byte is."""


def decoded(content: bytes) -> str:
    """Return the text that a file's bytes encode.

    Raises
    ------
    TextError
        If it is in another encoding; names the encoding if the file declares it.
    """
    for mark, name in _OTHERS.items():
        if content.startswith(mark):
            raise TextError(f"expected text in UTF-8, found {name}; save it as UTF-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise TextError(
            f"expected text in UTF-8, found byte {error.object[error.start]:#04x} in line {line}; save it as UTF-8"
        ) from error
    if "\0" in text:
        raise TextError("expected text in UTF-8, found bytes of 0, as in UTF-16; save it as UTF-8")
    return text


def is_plain(text: str) -> bool:
    """Return whether messages and files can hold a text: UTF-8 can encode it, and it has no NUL.

    A file name, for example, may have bytes that are not UTF-8.
    """
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:
        return False
