"""What a run by hand tells without being asked: real processes, a real endpoint, a program that hears the alerts."""

import json
import signal
from pathlib import Path

from tests.run.conftest import Ended, Studio, wait_until

CHANNEL = '\n[alerts]\nthresholds = [50]\n[[alerts.to]]\nname = "desk"\ncommand = ["{}"]\n'


def channel(studio: Studio, script: str) -> None:
    """A channel that runs `script`, in which `heard` is the file for what it hears."""
    program = studio.root / "hears"
    program.write_text(f"#!/bin/sh\nheard='{studio.root / 'heard.jsonl'}'\n{script}\n")
    program.chmod(0o755)
    with (studio.root / "omixa.toml").open("a") as settings:
        settings.write(CHANNEL.format(program))


def heard(root: Path) -> list[str]:
    file = root / "heard.jsonl"
    return [json.loads(line)["message"] for line in file.read_text().splitlines()] if file.exists() else []


def test_a_run_by_hand_tells_once_that_a_budget_has_reached_its_threshold(studio: Studio) -> None:
    studio.settings(month="0.15", ceiling="0.04")
    channel(studio, 'cat >> "$heard"; echo >> "$heard"')
    studio.recipe()
    studio.pictures(3)

    one = studio.run("--limit", "1")
    assert (one.code, heard(studio.root)) == (0, [])
    two = studio.run("--limit", "1", "--json")
    three = studio.run()

    assert (two.code, three.code) == (0, 0)
    (message,) = heard(studio.root)
    assert "of workspace studio has reached 50 %: 0.078 USD settled" in message
    assert f"alert: {message}" in two.err
    assert "alert" not in three.err
    assert json.loads(two.out)["runs"][0]["counts"] == {"bought": 1}


def test_a_channel_that_is_down_changes_nothing_of_how_a_run_ends(studio: Studio) -> None:
    studio.settings(month="0.10", ceiling="0.04")
    channel(studio, "exit 3")
    studio.recipe()
    studio.pictures(2)

    ended = studio.run()

    assert ended.code == 0
    assert "bought 2 pictures for 0.078 USD" in ended.out
    assert "warning: an alert was not sent to desk, and is tried again by the next run, a scheduler" in ended.err


def test_ctrl_c_while_alerts_are_sent_leaves_the_exit_code_of_the_run(studio: Studio) -> None:
    studio.settings(month="0.10", ceiling="0.04")
    channel(studio, 'echo begun > "$heard"; exec sleep 600')
    studio.recipe()
    studio.pictures(2)

    # A shell starts what runs in the background deaf to Ctrl-C, and so would be what these tests start.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = studio.start("run", "posters", "--yes")
    signal.signal(signal.SIGINT, before)
    wait_until((studio.root / "heard.jsonl").exists, process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)

    assert process.returncode == 0
    assert "bought 2 pictures for 0.078 USD" in Ended(0, out, err).out
    assert "alerts that were not sent yet wait: `omixa alert check` sends them" in err


def test_without_channels_a_run_records_no_alert(studio: Studio) -> None:
    studio.settings(month="0.10", ceiling="0.04")
    studio.recipe()
    studio.pictures(2)

    assert studio.run().code == 0

    assert studio.omixa("alert", "list").out == "no alerts\n"


def test_a_slot_by_hand_tells_too(studio: Studio) -> None:
    studio.settings(month="0.10", ceiling="0.04")
    channel(studio, 'cat >> "$heard"; echo >> "$heard"')
    studio.recipe()
    studio.pictures(2)

    ended = studio.omixa("schedule", "run-now", "posters", "--yes")

    assert (ended.code, len(heard(studio.root))) == (0, 1)
