"""What one model accepts: a table of fields with limits, each with its source. Data, and the checks that read it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from runner.diagnostics import did_you_mean

# An option's value as TOML or JSON gives it when decimals are read exactly (never as float).
OptionValue = str | int | Decimal

# What a model does (contract C1). Of these, only the first takes no source picture.
Operation = Literal["prompt-to-image", "image-editing", "upscaling", "background-removal"]

# The largest request that upstream reads (contract U2), with or without a picture in it.
REQUEST_BYTES_MAX = 10 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Field:
    """One field of the request. Limits are inclusive; None means that no limit is documented.

    `kind` is what the JSON carries. `choices` lists the accepted words; with `choices_may_grow` an unlisted
    word can be allowed on purpose. `default` is what the provider does when the field is left out; None when
    none is documented. `source` cites the contract, such as `contract C14`.
    """

    name: str
    kind: Literal["string", "integer", "number", "choice", "pictures"]
    required: bool
    description: str
    source: str
    minimum: Decimal | None = None
    maximum: Decimal | None = None
    length_min: int | None = None
    length_max: int | None = None
    choices: tuple[str, ...] = ()
    choices_may_grow: bool = False
    default: OptionValue | None = None

    def accepts(self) -> str:
        """The accepted values in words, such as `number 0.1-0.5`."""
        if self.kind == "string":
            low = self.length_min or 0
            return f"{low}-{self.length_max} characters" if low else f"up to {self.length_max} characters"
        if self.kind in ("integer", "number"):
            return f"{self.minimum}-{self.maximum}"
        if self.kind == "choice":
            return ", ".join(self.choices)
        return "inline pictures, see below"

    def fault(self, value: object, allowed: Iterable[str] = ()) -> "Fault | None":
        """What is wrong with a value, or None. `allowed` are extra words for a list that may grow."""
        if self.kind == "string":
            return self._string_fault(value)
        if self.kind == "choice":
            return self._choice_fault(value, allowed)
        if self.kind in ("integer", "number"):
            return self._number_fault(value)
        return None  # pictures are checked by PictureLimits, byte by byte

    def _string_fault(self, value: object) -> "Fault | None":
        if not isinstance(value, str):
            return Fault(self.name, "wrong-type", f"`{self.name}` must be a string, found {_typed(value)}")
        if len(value) < (self.length_min or 0):
            return Fault(self.name, "too-short", f"`{self.name}` must have at least {self.length_min} character")
        if self.length_max is not None and len(value) > self.length_max:
            return Fault(
                self.name,
                "too-long",
                f"`{self.name}` has {len(value)} characters, at most {self.length_max} are accepted",
            )
        return None

    def _choice_fault(self, value: object, allowed: Iterable[str]) -> "Fault | None":
        if not isinstance(value, str):
            return Fault(self.name, "wrong-type", f"`{self.name}` must be a string, found {_typed(value)}")
        if value in self.choices or (self.choices_may_grow and value in allowed):
            return None
        closest = did_you_mean(value, self.choices)
        return Fault(
            self.name,
            "unknown-choice",
            f"`{self.name}` has no value `{value}`; accepted: {', '.join(self.choices)}",
            f"did you mean `{closest}`?" if closest else None,
        )

    def _number_fault(self, value: object) -> "Fault | None":
        whole = self.kind == "integer"
        if isinstance(value, bool) or not isinstance(value, int if whole else (int, Decimal)):
            wanted = "an integer" if whole else "a number"
            return Fault(self.name, "wrong-type", f"`{self.name}` must be {wanted}, found {_typed(value)}")
        number = Decimal(value)
        low, high = self.minimum, self.maximum
        if not number.is_finite() or (low is not None and number < low) or (high is not None and number > high):
            return Fault(self.name, "out-of-range", f"`{self.name}` must be {low}-{high}, found {value}")
        return None


@dataclass(frozen=True, slots=True)
class Fault:
    """One value that the contract does not accept: which field, a stable code, the message, and the way out."""

    field: str
    code: str
    message: str
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class PictureLimits:
    """What source pictures a model accepts. Pixels and bytes; `request_bytes_max` counts the whole request body."""

    count: int
    media_types: tuple[str, ...]
    side_px_min: int
    pixels_min: int
    pixels_max: int
    request_bytes_max: int
    source: str

    def fault(self, width: int, height: int) -> str | None:
        """Why a picture of this size is unsuitable, or None."""
        if min(width, height) < self.side_px_min:
            return f"{min(width, height)} px side, at least {self.side_px_min} px needed ({self.source})"
        pixels = width * height
        if pixels < self.pixels_min:
            return f"{width} × {height} = {pixels} pixels, at least {self.pixels_min} needed ({self.source})"
        if pixels > self.pixels_max:
            return f"{width} × {height} = {pixels} pixels, at most {self.pixels_max} accepted ({self.source})"
        return None


@dataclass(frozen=True, slots=True)
class Contract:
    """What one model accepts. `fields` is in the order of the model page.

    `pictures` is None where the model takes no source picture. `file` is where the contract was declared, relative to
    the project; None for one that the package knows.
    """

    model: str
    title: str
    summary: str
    fields: tuple[Field, ...]
    pictures: PictureLimits | None
    operation: Operation = "upscaling"
    file: str | None = None

    @property
    def request_bytes_max(self) -> int:
        """The most bytes that a request may have."""
        return REQUEST_BYTES_MAX if self.pictures is None else self.pictures.request_bytes_max

    @property
    def needs_prompt(self) -> bool:
        """Whether a request without a prompt is none."""
        prompt = self.field("prompt")
        return prompt is not None and prompt.required

    def field(self, name: str) -> Field | None:
        """The field of that name, or None."""
        return next((field for field in self.fields if field.name == name), None)

    @property
    def options(self) -> tuple[Field, ...]:
        """The fields that a preset or prompt may set: all but `model` and the pictures."""
        return tuple(field for field in self.fields if field.name != "model" and field.kind != "pictures")

    def faults(self, options: Mapping[str, object], allowed: Iterable[str] = ()) -> list[Fault]:
        """All that is wrong with a set of options: unknown ones (C16), missing ones, and bad values."""
        found: list[Fault] = []
        known = {field.name: field for field in self.options}
        for name, value in options.items():
            if name in known:
                fault = known[name].fault(value, allowed)
                if fault is not None:
                    found.append(fault)
            else:
                found.append(self.unknown_option(name))
        found += [
            Fault(name, "missing-option", f"`{name}` is required")
            for name, field in known.items()
            if field.required and name not in options
        ]
        return found

    def unknown_option(self, name: str) -> Fault:
        """The fault of an option that the model does not have (contract C16)."""
        closest = did_you_mean(name, (field.name for field in self.fields))
        return Fault(
            name,
            "unknown-option",
            f"{self.model} has no option `{name}`",
            f"did you mean `{closest}`?" if closest else None,
        )


def _typed(value: object) -> str:
    names = {
        bool: "a boolean",
        int: "an integer",
        Decimal: "a decimal number",
        str: "a string",
        list: "an array",
        dict: "a table",
        type(None): "null",
    }
    return names.get(type(value), type(value).__name__)
