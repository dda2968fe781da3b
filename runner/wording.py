"""What differs between two recipes or two omixa.toml, key by key, in words. Layout is no difference."""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from runner.diagnostics import masked
from runner.money import short
from runner.plan import plain
from runner.recipe import Recipe, Step
from runner.settings import Settings
from runner.slots import Timing
from runner.tomlfile import BYTES_MAX

_TEXT_MAX = 160  # of one value; of a longer one, what stands around the difference


@dataclass(frozen=True, slots=True)
class Word:
    """One key that differs: its name, and its value before and after as text. None: it is not there."""

    key: str
    before: str | None
    after: str | None


def recipe_words(before: Recipe | None, old_root: Path, after: Recipe | None, root: Path) -> list[Word]:
    """How a recipe differs; nothing for one that is new or gone. The roots are those of either project."""
    if before is None or after is None:
        return []
    return _differences(dict(_of_recipe(before, old_root)), dict(_of_recipe(after, root)))


def settings_words(before: Settings | None, after: Settings | None) -> list[Word]:
    """How omixa.toml differs; nothing without both."""
    if before is None or after is None:
        return []
    return _differences(dict(_of_settings(before)), dict(_of_settings(after)))


def raw_words(before: bytes | None, after: bytes | None) -> list[Word]:
    """How two TOML files differ as they are written, whatever is wrong with them; nothing without both."""
    if before is None or after is None:
        return []
    return _differences(dict(_raw(_parsed(before))), dict(_raw(_parsed(after))))


def _parsed(content: bytes) -> object:
    try:
        return tomllib.loads(content.decode("utf-8"), parse_float=str) if len(content) <= BYTES_MAX else {}
    except (ValueError, RecursionError):
        return {}


def _raw(value: object, at: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _raw(inner, f"{at}.{name}" if at else name)
    elif isinstance(value, list) and any(isinstance(inner, dict) for inner in value):
        for number, inner in enumerate(value, 1):
            yield from _raw(inner, f"{at} {number}")
    elif isinstance(value, list):
        yield at, ", ".join(str(inner) for inner in value)
    else:
        yield at, str(value).lower() if isinstance(value, bool) else str(value)


def _differences(before: Mapping[str, str], after: Mapping[str, str]) -> list[Word]:
    found = []
    for key in dict.fromkeys([*before, *after]):
        old, new = before.get(key), after.get(key)
        if old != new:
            found.append(Word(key, *_around(old, new)))
    return found


def _around(old: str | None, new: str | None) -> tuple[str | None, str | None]:
    """Both texts without keys; of long ones, what stands around the first difference."""
    texts = [None if text is None else masked(text) for text in (old, new)]
    first, second = texts
    if first is None or second is None or max(len(first), len(second)) <= _TEXT_MAX:
        return _cut(first, 0), _cut(second, 0)
    same = next(
        (at for at, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second))
    )
    start = max(0, same - 40)
    return _cut(first, start), _cut(second, start)


def _cut(text: str | None, start: int) -> str | None:
    if text is None:
        return None
    kept = text[start : start + _TEXT_MAX]
    return ("…" if start else "") + kept + ("…" if start + _TEXT_MAX < len(text) else "")


def _of_recipe(recipe: Recipe, root: Path) -> Iterator[tuple[str, str]]:
    yield "workspace", recipe.workspace
    yield from (("model", step.model) for step in recipe.steps if not step.name)
    for name in ("description", "cost_centre", "canary"):
        value = getattr(recipe, name)
        if value is not None:
            yield name, str(value)
    yield from ((f"labels.{name}", value) for name, value in recipe.labels.items())
    for step in recipe.steps:
        yield from _of_pictures(step, root)
    for name, prompt in recipe.prompts.items():
        if not name:  # of a model that takes no prompt: nobody wrote it
            continue
        yield f"prompts.{name}", prompt.text
        if prompt.negative is not None:
            yield f"prompts.{name}.negative", prompt.negative
    sources = [source for step in recipe.steps for source in step.sources]
    used = sorted({preset for source in sources for preset in source.presets if preset})
    yield from ((f"presets.{name}", _options(recipe.presets.get(name, {}))) for name in used)
    for step in recipe.steps:
        yield from _of_results(step, root)
    yield from ((f"budget.{period}", short(micros)) for period, micros in recipe.budget.items())
    if recipe.allow.style_preset:
        yield "allow.style_preset", ", ".join(sorted(recipe.allow.style_preset))
    if recipe.allow.sixteen_bit:
        yield "allow.sixteen_bit", "true"
    yield from _of_schedule(recipe)


def _of_results(step: Step, root: Path) -> Iterator[tuple[str, str]]:
    """What a step makes, and where it goes."""
    own = _prefix(step)
    # An option that is left out is the model's default: another one makes another picture.
    defaults = {field.name: field.default for field in step.contract.options if field.default is not None}
    yield f"{own}contract.defaults", _options(defaults)
    yield f"{own}output.folder", _folder(step.output.folder, root)
    yield f"{own}output.name", step.output.name
    yield f"{own}output.format", step.output.format
    if step.output.flatten is not None:
        yield f"{own}output.flatten", step.output.flatten


def _prefix(step: Step) -> str:
    return f"steps.{step.name}." if step.name else ""


def _of_pictures(step: Step, root: Path) -> Iterator[tuple[str, str]]:
    """What a step of several asks, and of what; the sources of any."""
    if step.name:
        yield f"{_prefix(step)}model", step.model
    if step.origin is not None:
        yield f"{_prefix(step)}from", step.origin
    seen: dict[str, int] = {}
    for source in step.sources:
        if source.folder is None:  # what is bought is its prompts and presets
            if step.name:
                yield f"{_prefix(step)}prompt", ", ".join(sorted(filter(None, source.prompts))) or "none"
                yield f"{_prefix(step)}preset", ", ".join(sorted(filter(None, source.presets))) or "none"
            continue
        name = _folder(source.folder, root)
        seen[name] = seen.get(name, 0) + 1
        parts = [f"include {' '.join(sorted(source.include))}"]
        parts += [f"exclude {' '.join(sorted(source.exclude))}"] if source.exclude else []
        parts += [f"prompts {', '.join(sorted(source.prompts))}"]
        parts += [f"presets {', '.join(sorted(source.presets))}"] if any(source.presets) else []
        yield f"{_prefix(step)}sources {name}" + (f" ({seen[name]})" if seen[name] > 1 else ""), "; ".join(parts)


def _of_schedule(recipe: Recipe) -> Iterator[tuple[str, str]]:
    schedule = recipe.schedule
    if schedule is None:
        return
    yield "schedule", str(Timing(schedule.cron, schedule.every_s, "UTC"))
    for name in ("time_zone", "missed", "overlap", "jitter_s", "time_limit_s", "paused"):
        value = getattr(schedule, name)
        if value is not None:
            yield f"schedule.{name}", str(value).lower() if isinstance(value, bool) else str(value)


def _options(preset: Mapping[str, object]) -> str:
    return ", ".join(f"{name} = {plain(preset[name])}" for name in sorted(preset)) or "no options"  # type: ignore[arg-type]


def _folder(folder: Path, root: Path) -> str:
    return folder.relative_to(root).as_posix() if folder.is_relative_to(root) else folder.as_posix()


def _of_settings(settings: Settings) -> Iterator[tuple[str, str]]:
    for name, workspace in settings.workspaces.items():
        at = f"workspaces.{name}"
        for key in ("endpoint", "currency", "time_zone", "concurrency", "unlimited"):
            value = getattr(workspace, key)
            yield f"{at}.{key}", str(value).lower() if isinstance(value, bool) else str(value)
        kept = workspace.api_key
        if kept is not None:
            yield f"{at}.api_key", kept.env or _folder(kept.file or settings.root, settings.root)
        yield from ((f"{at}.budget.{period}", short(micros)) for period, micros in workspace.budget.items())
        yield from ((f"{at}.ceilings.{model}", short(micros)) for model, micros in workspace.ceilings.items())
    for name, endpoint in settings.endpoints.items():
        if endpoint.url is not None:
            plaintext = ", plain http allowed" if endpoint.allow_plaintext else ""
            yield f"endpoints.{name}", f"{endpoint.url}, {endpoint.timeout_s} s{plaintext}"
    yield from ((f"presets.{name}", _options(preset)) for name, preset in settings.presets.items())
    yield "ledger.url", settings.ledger.url
    yield "audit.checkpoints", settings.audit.checkpoints
    yield "audit.keys", ", ".join(sorted(settings.audit.keys))
    yield "alerts", str(settings.alerts.model_dump(mode="json"))
    yield "sandbox.price", short(settings.sandbox.price_micros)
    yield from _of_policy(settings)


def _of_policy(settings: Settings) -> Iterator[tuple[str, str]]:
    policy = settings.policy
    money = {"max_price": policy.max_price_micros, "max_monthly_cost": policy.max_monthly_cost_micros}
    for name, micros in (money | {"approval_over": policy.approval_over}).items():
        if micros is not None:
            yield f"policy.{name}", short(micros)
    for name in ("required_labels", "allowed_folders", "forbidden_words", "cap_raisers"):
        value = getattr(policy, name)
        if value or (name == "cap_raisers" and value is not None):
            yield f"policy.{name}", ", ".join(sorted(value)) or "nobody"
    for name in ("require_clean", "not_author"):
        if getattr(policy, name):
            yield f"policy.{name}", "true"
    yield "policy.approvals", str(policy.approvals)
    for name, approver in settings.approvers.items():
        at = f"approvers.{name}"
        yield f"{at}.key", approver.key
        if approver.email is not None:
            yield f"{at}.email", approver.email
        if approver.max_micros is not None:
            yield f"{at}.max", short(approver.max_micros)
