"""Fields that the bridge does not have, as a block of a ticket's description or as a comment (R198)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from ecproc.mapping.templates import Slot, Template

_LINE = Template((Slot("name"), ": ", Slot("value")))


class Extra(msgspec.Struct, frozen=True, kw_only=True):
    """Which fields of the desk's those are, and how they are told."""

    fields: tuple[str, ...] = ()
    into: Literal["description", "comment"] = "description"
    header: str = "--- client data ---"
    footer: str = "--- end of client data ---"
    line: Template = _LINE
    on_change: Literal["comment", "ignore"] = "comment"

    def pick(self, record: Mapping[str, str]) -> dict[str, str]:
        """What a record of the desk's has of these fields, in their order."""
        return {name: record[name] for name in self.fields if name in record}

    def write_block(self, values: Mapping[str, str]) -> str:
        """The block for these values; empty where none of the fields says anything."""
        lines = self._write_lines(values)
        return "\n".join([self.header, *lines, self.footer]) if lines else ""

    def append_to(self, description: str, values: Mapping[str, str]) -> str:
        """The description with the block behind it, if that is where it goes."""
        block = self.write_block(values) if self.into == "description" else ""
        return "\n\n".join(filter(None, (description, block)))

    def strip_from(self, description: str, values: Mapping[str, str]) -> str:
        """The description without the block, if that is there exactly as it is written for these values, line ends
        aside; a block that was changed is ordinary text."""
        block = self.write_block(values) if self.into == "description" else ""
        plain = "\n".join(line.rstrip() for line in description.replace("\r\n", "\n").rstrip().split("\n"))
        wanted = "\n".join(line.rstrip() for line in block.replace("\r\n", "\n").split("\n"))
        if not block or not (plain == wanted or plain.endswith(f"\n{wanted}")):
            return description
        # Counted in lines: those are what both texts have in common.
        lines = description.rstrip().split("\n")
        return "\n".join(lines[: len(lines) - len(wanted.split("\n"))]).rstrip()

    def describe_change(self, before: Mapping[str, str], after: Mapping[str, str]) -> str:
        """The lines of the fields that have another value than before, as a comment; empty where there is none."""
        if self.on_change == "ignore":
            return ""
        changed = [name for name in self.fields if before.get(name, "") != after.get(name, "")]
        return "\n".join(self._write_line(name, after.get(name, "")) for name in changed)

    def _write_lines(self, values: Mapping[str, str]) -> list[str]:
        return [self._write_line(name, values[name]) for name in self.fields if values.get(name, "").strip()]

    def _write_line(self, name: str, value: str) -> str:
        return self.line.render({"name": name, "value": value})
