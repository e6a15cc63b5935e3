"""Mutations of files: of their bytes, and of their formats (with recomputed zip checksums)."""

from __future__ import annotations

import io
import json
import random
import re
import struct
import warnings
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np

Change = Callable[[bytes, random.Random], bytes]
NUMBERS = (0, 1, -1, 7, 255, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1, -(2**63), 2**64 - 1)
VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 2**31, 2**63, 10**400, 1e308, -0.0, "", "x", "\x1b[31mred\x07", "\u202e", "\ud800", "../../etc", [],
    {}, [[[]]], {"a": {}}, "a" * 5000, [1] * 300,
)  # fmt: skip
TEXTS = (
    "nan", "inf", "-inf", "1e999", "-1", "0", "9" * 400, "9" * 5000, "[" * 3000, "{a=" * 500, '"' * 3, "'''", "\x00",
    "\x1b[2J", "\u202e", "1_000", "\u0663", "../../../etc/passwd", "/dev/zero", "true", "2026-11-21", "\r", "\ufeff",
    "a." * 3000, "=", ",", "\n", "x" * 5000, "~", "[[train]]", "os:kill",
)  # fmt: skip


def change_bytes(content: bytes, rng: random.Random) -> bytes:
    """Flip, cut, insert, remove, repeat, swap or overwrite bytes."""
    data, size = bytearray(content), len(content)
    if not size:
        return bytes([rng.randrange(256)])
    at = rng.randrange(size) if rng.random() < 0.7 else rng.randrange(min(size, 200))
    length = min(rng.choice((1, 2, 4, 8, 64, 1000)), size - at)
    what = rng.randrange(9)
    if what <= 2:
        for _ in range(rng.choice((1, 1, 1, 2, 8))):
            data[rng.randrange(size) if what else at] ^= 1 << rng.randrange(8)
    elif what == 3:
        del data[at:]
    elif what == 4:
        data[at:at] = rng.randbytes(length)
    elif what == 5:
        del data[at : at + length]
    elif what == 6:
        data[at:at] = data[at : at + length]
    elif what == 7:
        other = rng.randrange(size - length + 1)
        data[at : at + length], data[other : other + length] = data[other : other + length], data[at : at + length]
    else:
        kind = rng.choice("bhiq")
        raw = struct.pack("<q", max(-(2**63), min(rng.choice(NUMBERS), 2**63 - 1)))[: struct.calcsize(kind)]
        data[at : at + len(raw)] = raw
    return bytes(data)


def change_value(value: Any, rng: random.Random) -> Any:
    """Change one value, key or number in plain data."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        what = rng.randrange(8)
        rest = {k: v for k, v in value.items() if k != key}
        if what == 0:
            return rest
        if what == 1:
            return {**rest, f"{key}x": value[key]}
        if what == 2:
            return {**value, "more": rng.choice(VALUES)}
        return {**value, key: change_value(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.8:
        at = rng.randrange(len(value))
        return [*value[:at], *([change_value(value[at], rng)] if rng.random() < 0.7 else []), *value[at + 1 :]]
    if isinstance(value, int) and not isinstance(value, bool) and rng.random() < 0.5:
        return rng.choice((value + 1, value - 1, -value, value * 10**6))
    if isinstance(value, str) and value and rng.random() < 0.5:
        at = rng.randrange(len(value))
        return value[:at] + chr(rng.randrange(32, 127)) + value[at + 1 :]
    return rng.choice(VALUES)


def change_json(content: bytes, rng: random.Random) -> bytes:
    """Change a value, or make the JSON text invalid."""
    what = rng.randrange(10)
    if what == 0:
        return b"[" * 100_000 + content
    if what == 1:
        return content.replace(b":", b": NaN, " if rng.random() < 0.5 else b": 1e999, ", 1)
    if what == 2:
        return content.replace(b"{", b'{"total": 3, ', 1)
    if what == 3:
        return content.replace(b"{", b'{"deep": ' + b"[" * 500 + b"]" * 500 + b", ", 1)
    try:
        return json.dumps(change_value(json.loads(content), rng), indent=2).encode()
    except (ValueError, RecursionError):
        return change_bytes(content, rng)


def change_npy(content: bytes, rng: random.Random) -> bytes:
    """Change type, shape or order in the header of a `.npy`."""
    if content[:6] != b"\x93NUMPY":
        return change_bytes(content, rng)
    length = int.from_bytes(content[8:10], "little")
    head, numbers = content[10 : 10 + length].decode("latin1"), content[10 + length :]
    what = rng.randrange(6)
    if what == 0:
        kinds = (
            "<f4",
            "<f8",
            "<i8",
            "|u1",
            "|b1",
            "|O",
            "<U100000000",
            "<f2",
            ">f4",
            "V8",
            "<M8[ns]",
            "<i4,<i4",
            "<c16",
            "S0",
        )
        head = re.sub(r"'descr': '[^']*'", f"'descr': '{rng.choice(kinds)}'", head)
    elif what <= 3:
        shapes = (
            "()",
            "(0,)",
            "(1,)",
            "(10000000000000,)",
            "(3, 4)",
            "(-1,)",
            "(2, 2, 2, 5)",
            "(" + "1, " * 100 + ")",
            "(True,)",
        )
        head = re.sub(r"'shape': \([^)]*\)", f"'shape': {rng.choice(shapes)}", head)
    elif what == 4:
        head = head.replace("False", rng.choice(("True", "1", "None", "__import__('os')", "[" * 200)))
    else:
        return content[:6] + bytes([rng.randrange(5), rng.randrange(2)]) + content[8:]
    text = head.rstrip().ljust(length - 1) + "\n"
    return content[:8] + struct.pack("<H", len(text) % 65536) + text.encode("latin1") + numbers


def change_zip(content: bytes, rng: random.Random) -> bytes:
    """Rename, drop, swap, add or change members of an archive, with valid checksums."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    except Exception:  # changed before
        return change_bytes(content, rng)
    if not members:
        return change_bytes(content, rng)
    at = rng.randrange(len(members))
    name, data = members[at]
    what = rng.randrange(12)
    if what == 0:
        members[at] = (
            rng.choice(("score.npy", "indices.npy", "../../evil.npy", "/etc/x.npy", "x", name.upper(), "\x1b[2J.npy")),
            data,
        )
    elif what == 1:
        del members[at]
    elif what == 2:
        other = rng.randrange(len(members))
        members[at], members[other] = (name, members[other][1]), (members[other][0], data)
    elif what == 3:
        members.append(rng.choice(((name, data), ("more.npy", data), ("huge.npy", bytes(70_000_000)))))
    elif what == 4:
        file = io.BytesIO()
        np.save(file, np.array([{"a": 1}], object), allow_pickle=True)
        members[at] = (name, file.getvalue())
    elif what == 5:
        head = {"descr": "<f4", "fortran_order": False, "shape": (18_000_000,)}
        file = io.BytesIO()
        np.lib.format.write_array_header_1_0(file, head)
        members[at] = (name, file.getvalue() + bytes(72_000_000 if rng.random() < 0.2 else 100))
    elif what <= 7:
        members[at] = (name, change_npy(data, rng))
    elif what <= 9 and name == "meta.npy":
        text = str(np.load(io.BytesIO(data))[()])
        changed = change_json(text.encode(), rng).decode("utf-8", "replace")
        file = io.BytesIO()
        np.save(file, np.array(changed))
        members[at] = (name, file.getvalue())
    else:
        start = 80 if len(data) > 200 else 0
        members[at] = (name, data[:start] + change_bytes(data[start:], rng))
    file = io.BytesIO()
    deflated = zipfile.ZIP_DEFLATED if rng.random() < 0.3 or len(members[-1][1]) > 10**7 or what == 5 else zipfile.ZIP_STORED
    method = (
        rng.choice((zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)) if rng.random() < 0.02 and what != 5 and what != 3 else deflated
    )
    with zipfile.ZipFile(file, "w", method) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a name that comes twice
        for member, data in members:
            archive.writestr(member, data)
    return file.getvalue()


def change_safetensors(content: bytes, rng: random.Random) -> bytes:
    """Change a value in the header, or its length."""
    length = int.from_bytes(content[:8], "little")
    head, numbers = content[8 : 8 + length], content[8 + length :]
    what = rng.randrange(4)
    if what == 0:
        return struct.pack("<Q", rng.choice(NUMBERS) % 2**64) + content[8:]
    if what == 1 and len(numbers) > 4:
        return content[: 8 + length] + change_bytes(numbers, rng)[: len(numbers)].ljust(len(numbers), b"\0")
    try:
        header = json.loads(head)
        name = rng.choice(list(header))
        if rng.random() < 0.4 and "dtype" in header[name]:
            header[name]["dtype"] = rng.choice(("F64", "BF16", "I64", "BOOL", "F8_E4M3", "F4", "X", 3))
        elif rng.random() < 0.4 and "shape" in header[name]:
            header[name]["shape"] = rng.choice(
                ([2**40, 2**40], [0], [-1], [1.5], header[name]["shape"][::-1], [1, *header[name]["shape"]])
            )
        else:
            header = change_value(header, rng)
        text = json.dumps(header).encode()
    except (ValueError, RecursionError, TypeError, IndexError):
        return change_bytes(content, rng)
    return struct.pack("<Q", len(text)) + text + numbers


def change_text(content: bytes, rng: random.Random) -> bytes:
    """Replace, double, swap or remove a word, number or line."""
    text = content.decode("utf-8", "surrogateescape")
    what = rng.randrange(5)
    words = list(re.finditer(r"[\w.+-]+", text))
    lines = text.split("\n")
    if what <= 1 and words:
        word = rng.choice(words)
        text = text[: word.start()] + rng.choice(TEXTS) + text[word.end() :]
    elif what == 2:
        at = rng.randrange(len(lines))
        lines[at : at + 1] = rng.choice(([], [lines[at]] * 2, [rng.choice(TEXTS)], [lines[at] + rng.choice(TEXTS)]))
        text = "\n".join(lines)
    elif what == 3:
        at = rng.randrange(len(text) + 1)
        text = text[:at] + rng.choice(TEXTS) + text[at:]
    else:
        rng.shuffle(lines)
        text = "\n".join(lines)
    return text.encode("utf-8", "surrogatepass" if "\ud800" in text else "surrogateescape")


OF_ENDING: dict[str, Change] = {
    "npz": change_zip, "pth": change_zip, "pt": change_zip, "ckpt": change_zip,
    "npy": change_npy, "json": change_json, "safetensors": change_safetensors,
    "txt": change_text, "csv": change_text, "toml": change_text,
}  # fmt: skip


def changed(content: bytes, ending: str, rng: random.Random) -> tuple[bytes, bool]:
    """Return (the file with one to three changes, whether only its bytes were changed). The bytes always differ."""
    for _ in range(100):
        new_content, plain = content, True
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            form = OF_ENDING.get(ending)
            if form is None or rng.random() < 0.5:
                new_content = change_bytes(new_content, rng)
                continue
            try:
                new_content, plain = form(new_content, rng), False
            except Exception:  # what an earlier change left is no such file any more
                new_content = change_bytes(new_content, rng)
        if new_content != content:
            return new_content, plain
    raise AssertionError("nothing changed")


def signed(content: bytes, ending: str) -> bool:
    """Whether a readable file still has its original checksum."""
    try:
        if ending == "json":
            record = json.loads(content)
            return (
                bool({"checksum"} & set(record)) and "sha256" in record
                if "samples_seen" in record and "evaluated" in record
                else "checksum" in record
            )
        if ending == "toml":
            return b"# checksum " in content
        if ending == "safetensors":
            head = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
            return "checksum" in head.get("__metadata__", {})
        if ending == "npz":
            with np.load(io.BytesIO(content)) as archive:
                return "checksum" in json.loads(str(archive["meta"][()]))
    except Exception:
        return True
    return True
