"""Finding source pictures."""

import os
from pathlib import Path

import pytest

from runner.errors import DiskError, UsageError
from runner.images import find


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """A folder with files of many kinds of names."""
    for name in (
        "a.jpg",
        "B.JPG",
        "notes.txt",
        "a.jpg.prompt.txt",
        "deep/c.jpg",
        "deep/deeper/d.Jpg",
        "deep/deeper/e.png",
        "Deep.jpg/f.webp",
        ".hidden.jpg",
        ".cache/g.jpg",
        "deep/.cache/h.jpg",
    ):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")
    return tmp_path


def names(folder: Path, *include: str, exclude: tuple[str, ...] = (), leave_out: tuple[Path, ...] = ()) -> list[str]:
    found = find(folder, include, exclude, leave_out=leave_out)
    assert all(path.is_absolute() for path in found)
    assert found == sorted(found)
    return [path.relative_to(folder).as_posix() for path in found]


def test_two_stars_stand_for_any_number_of_folders_none_included(album: Path) -> None:
    assert names(album, "**/*.jpg") == ["B.JPG", "a.jpg", "deep/c.jpg", "deep/deeper/d.Jpg"]
    assert names(album, "deep/**/*.jpg") == ["deep/c.jpg", "deep/deeper/d.Jpg"]
    assert names(album, "**/deeper/*") == ["deep/deeper/d.Jpg", "deep/deeper/e.png"]
    assert names(album, "**/**/c.jpg") == ["deep/c.jpg"]
    assert names(album, "deep/**") == ["deep/c.jpg", "deep/deeper/d.Jpg", "deep/deeper/e.png"]
    assert names(album, "deep/") == names(album, "deep/**")


def test_one_star_stays_within_its_folder(album: Path) -> None:
    assert names(album, "*.jpg") == ["B.JPG", "a.jpg"]
    assert names(album, "*/*.jpg") == ["deep/c.jpg"]


def test_case_counts_except_in_the_extension(album: Path) -> None:
    assert names(album, "*.JPG") == ["B.JPG", "a.jpg"]
    assert names(album, "b.jpg") == []
    assert names(album, "B.jpg") == ["B.JPG"]
    assert names(album, "deep.jpg/*") == []
    assert names(album, "Deep.jpg/*") == ["Deep.jpg/f.webp"]


def test_question_marks_and_classes_match_one_character(album: Path) -> None:
    assert names(album, "?.jpg") == ["B.JPG", "a.jpg"]
    assert names(album, "[!B].jpg") == ["a.jpg"]
    assert names(album, "[a-b].jpg") == ["a.jpg"]
    assert names(album, "**/*.[pw]*") == ["Deep.jpg/f.webp", "deep/deeper/e.png"]


def test_an_excluded_file_is_left_out_whatever_includes_it(album: Path) -> None:
    assert names(album, "**/*.jpg", exclude=("deep/**",)) == ["B.JPG", "a.jpg"]
    assert names(album, "**/*.jpg", "a.jpg", exclude=("a.*",)) == ["B.JPG", "deep/c.jpg", "deep/deeper/d.Jpg"]
    assert names(album, ".cache/*.jpg", exclude=("**/*.jpg",)) == []


def test_hidden_names_are_found_only_where_the_dot_is_written(album: Path) -> None:
    assert names(album, "*") == ["B.JPG", "a.jpg", "notes.txt"]
    assert names(album, ".*.jpg") == [".hidden.jpg"]
    assert names(album, "**/.cache/*.jpg") == [".cache/g.jpg", "deep/.cache/h.jpg"]
    assert names(album, "[.]hidden.jpg") == []


def test_prompts_beside_pictures_are_never_pictures(album: Path) -> None:
    assert "a.jpg.prompt.txt" not in names(album, "**/*")
    assert names(album, "*.prompt.txt") == []


def test_symbolic_links_are_not_followed(album: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "z.jpg").write_bytes(b"x")
    (album / "file-link.jpg").symlink_to(elsewhere / "z.jpg")
    (album / "folder-link").symlink_to(elsewhere)
    (album / "deep" / "loop").symlink_to(album)
    assert names(album, "**/*.jpg") == ["B.JPG", "a.jpg", "deep/c.jpg", "deep/deeper/d.Jpg"]
    # The folder that was written in the recipe is what the operator meant, link or not.
    assert names(album / "folder-link", "*.jpg") == ["z.jpg"]


def test_only_regular_files_are_found(album: Path) -> None:
    os.mkfifo(album / "pipe.jpg")
    assert "pipe.jpg" not in names(album, "*.jpg")


def test_what_lies_under_a_left_out_path_is_left_out(album: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert names(album, "**/*.jpg", leave_out=(album / "deep",)) == ["B.JPG", "a.jpg"]
    assert names(album, "**/*.jpg", leave_out=(album / "de",)) == names(album, "**/*.jpg")
    assert names(album, "**/*.jpg", leave_out=(album / "a.jpg",))[0:2] == ["B.JPG", "deep/c.jpg"]
    assert names(album / "deep", "**/*.jpg", leave_out=(album,)) == []
    # By whatever name the two are called: the output folder's may lead through a link.
    link = tmp_path_factory.mktemp("links") / "album"
    link.symlink_to(album)
    assert names(album, "**/*.jpg", leave_out=(link / "deep",)) == ["B.JPG", "a.jpg"]
    assert names(link, "**/*.jpg", leave_out=(album / "deep",)) == ["B.JPG", "a.jpg"]


def test_a_pattern_of_many_stars_does_not_run_away(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["a" * 20] * 30)
    deep.mkdir(parents=True)
    (deep / ("a" * 240)).write_bytes(b"x")
    # Both would go on for longer than anybody waits, if a star could give back what it took.
    assert names(tmp_path, "**/" * 30 + "a*" * 60 + "b") == []
    assert names(tmp_path, "**/a*/" * 25 + "b") == []


def test_a_pattern_of_64_segments_is_accepted_and_one_of_65_is_not(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    assert names(tmp_path, "**/" * 63 + "a") == ["a"]
    with pytest.raises(UsageError, match="65 segments, at most 64"):
        find(tmp_path, ["**/" * 64 + "a"], [])


def test_a_folder_that_cannot_be_listed_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(DiskError, match=r"`.*/missing` does not exist"):
        find(tmp_path / "missing", ["*"], [])
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DiskError, match=r"`.*/file` is not a folder"):
        find(tmp_path / "file", ["*"], [])
    # A name too long to be opened stands for every other refusal: root may read all that has a name.
    with pytest.raises(DiskError, match="cannot be read: File name too long"):
        find(tmp_path / ("x" * 300), ["*"], [])


def test_what_one_name_is_found_by_is_asked_of_each_other_name_that_ends_alike(tmp_path: Path) -> None:
    for name in ("a.jpg", "a1.jpg", "b.jpg", "in/a.jpg", "in/b.jpg", "in/.b.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert names(tmp_path, "a*.jpg") == ["a.jpg", "a1.jpg"]
    assert names(tmp_path, "**/b.jpg") == ["b.jpg", "in/b.jpg"]
    assert names(tmp_path, "*.jpg", "in/a*/**") == ["a.jpg", "a1.jpg", "b.jpg", "in/a.jpg"]
    assert names(tmp_path, "**/*.jpg", exclude=("**/a*.jpg",)) == ["b.jpg", "in/b.jpg"]
    assert names(tmp_path, "**/*", exclude=("*.jpg",)) == ["in/a.jpg", "in/b.jpg"]
