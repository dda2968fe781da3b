"""`omixa models`: what each model accepts, and who says so. In a project, also the models of its contract files."""

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runner.contracts.contract import Contract, Field, PictureLimits


def arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument("model", nargs="?", metavar="MODEL", help="one model (default: all)")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")


def run(*, project: str | None, model: str | None, json: bool, **_: object) -> int:
    """Show the contracts; needs no project. Raises Problems with what is wrong in the project's contract files."""
    from runner.diagnostics import did_you_mean
    from runner.errors import ExitCode, UsageError
    from runner.project import contracts

    known = contracts(project)
    if model is not None and model not in known:
        closest = did_you_mean(model, known)
        hint = f"did you mean `{closest}`?" if closest else f"known: {', '.join(f'`{name}`' for name in known)}"
        raise UsageError(f"there is no model `{model}`", hint)
    chosen = [contract for name, contract in known.items() if model in (None, name)]
    if json:
        from json import dumps

        print(dumps({"schema": "omixa.models/1", "models": [_as_json(contract) for contract in chosen]}, indent=2))
    else:
        print("\n\n".join(_as_text(contract) for contract in chosen))
    return int(ExitCode.OK)


def _as_json(contract: "Contract") -> dict[str, Any]:
    limits = contract.pictures
    return {
        "model": contract.model,
        "title": contract.title,
        "summary": contract.summary,
        "operation": contract.operation,
        "file": contract.file,
        "fields": [_field(field) for field in contract.fields],
        "pictures": None
        if limits is None
        else {
            "count": limits.count,
            "media_types": list(limits.media_types),
            "side_px_min": limits.side_px_min,
            "pixels_min": limits.pixels_min,
            "pixels_max": limits.pixels_max,
            "request_bytes_max": limits.request_bytes_max,
            "source": limits.source,
        },
    }


def _field(field: "Field") -> dict[str, Any]:
    return {
        "name": field.name,
        "kind": field.kind,
        "required": field.required,
        "accepts": field.accepts(),
        "minimum": _number(field.minimum),
        "maximum": _number(field.maximum),
        "length_min": field.length_min,
        "length_max": field.length_max,
        "choices": list(field.choices),
        "choices_may_grow": field.choices_may_grow,
        "default": _number(field.default),
        "source": field.source,
        "description": field.description,
    }


def _number(value: Any) -> Any:
    """Limits are no money, so a JSON number will do."""
    from decimal import Decimal

    if not isinstance(value, Decimal):
        return value
    return int(value) if value == value.to_integral_value() else float(value)


_COLUMNS = ("field", "required", "accepts", "default", "source", "description")
_WIDTHS = {"accepts": 40, "description": 48}


def _as_text(contract: "Contract") -> str:
    rows = [
        (
            field.name,
            "yes" if field.required else "no",
            field.accepts() + (", and new ones on purpose" if field.choices_may_grow else ""),
            "" if field.default is None else str(field.default),
            field.source,
            field.description,
        )
        for field in contract.fields
    ]
    origin = "built in" if contract.file is None else f"declared in {contract.file}"
    head = f"{contract.model}: {contract.title} ({contract.operation}, {origin})\n{contract.summary}".rstrip()
    return f"{head}\n\n{_table(rows)}\n\n{_pictures(contract.pictures)}"


def _pictures(limits: "PictureLimits | None") -> str:
    if limits is None:
        return "no source picture: one picture for each prompt × preset of a recipe"
    kinds = ", ".join(kind.removeprefix("image/") for kind in limits.media_types)
    return "\n".join(
        [
            f"source pictures ({limits.source})",
            f"  {limits.count} a request: {kinds}",
            f"  every side at least {limits.side_px_min} px",
            f"  {limits.pixels_min} to {limits.pixels_max} pixels in all",
            f"  a request of at most {limits.request_bytes_max // 1024 // 1024} MiB",
        ]
    )


def _table(rows: "Sequence[tuple[str, ...]]") -> str:
    """Columns as wide as their longest cell; long cells are wrapped."""
    from textwrap import wrap

    def cells(row: tuple[str, ...]) -> list[list[str]]:
        return [wrap(cell, _WIDTHS.get(name, 80)) or [""] for name, cell in zip(_COLUMNS, row, strict=True)]

    wrapped = [cells(row) for row in (_COLUMNS, *rows)]
    widths = [max(len(line) for row in wrapped for line in row[column]) for column in range(len(_COLUMNS))]
    lines = []
    for row in wrapped:
        for line in range(max(len(cell) for cell in row)):
            parts = [
                (cell[line] if line < len(cell) else "").ljust(width) for cell, width in zip(row, widths, strict=True)
            ]
            lines.append("  ".join(parts).rstrip())
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])
