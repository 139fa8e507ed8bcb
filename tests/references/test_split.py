"""Split files: what is learned from and what is tested with share neither subject nor recording."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from musclewarp.errors import FileError
from musclewarp.references.library import find_references
from musclewarp.references.split import load_split, make_split, save_split, split_of_index

GOOD = 'train: {"05": [a, b], s6: [c]}\ntest: {"08": [d]}\n'


@pytest.fixture
def refs(write_reference, tmp_path):
    """A folder of four references, each of a recording of its own."""
    for name in "abcd":
        write_reference(name)
    return tmp_path / "refs"


def written(folder, text, name="split.yaml"):
    path = folder / name
    path.write_text(text)
    return path


def test_subjects_that_look_like_numbers_stay_text(refs):
    split = load_split(written(refs, "train: {05: [a], 06: [b]}\ntest: {08: [c]}\n"))
    assert {part: list(by) for part, by in split.parts.items()} == {"train": ["05", "06"], "test": ["08"]}


def test_yaml_and_json_say_the_same(refs):
    content = {"train": {"05": ["a", "b"], "s6": ["c"]}, "test": {"08": ["d"]}}
    assert load_split(written(refs, json.dumps(content), "split.json")).parts == load_split(written(refs, GOOD)).parts


def test_a_part_of_a_split_file_stands_for_its_references(refs):
    path = written(refs, GOOD)
    names = {part: [file.name[0] for file in find_references(f"{path}:{part}")] for part in ("train", "test")}
    assert names == {"train": ["a", "b", "c"], "test": ["d"]}
    assert len(find_references([f"{path}:train", refs / "d.ref.safetensors"])) == 4


def test_clips_of_one_name_in_two_folders_are_two_clips_of_two_subjects(write_reference, tmp_path):
    for name in ("s1/walk", "s2/walk"):
        write_reference(name)
    path = written(tmp_path / "refs", "train: [s1/walk]\ntest: [s2/walk]\n")
    assert find_references(f"{path}:test") == [tmp_path / "refs" / "s2" / "walk.ref.safetensors"]
    assert load_split(path).parts["train"] == {"s1": ("s1/walk",)}


LEAKS = {  # what is wrong: the file, and what must be said
    "a subject in both parts": ("train: {A: [a]}\ntest: {A: [b]}\n", "share the subject 'A'"),
    "a folder in both lists": ("train: [s/a]\ntest: [s/b]\n", "share the subject 's'"),
    "a clip in both parts": ("train: {A: [a]}\ntest: {B: [a]}\n", "clip 'a' is named 2 times"),
    "a clip twice in a part": ("train: {A: [a], C: [a]}\ntest: {B: [b]}\n", "clip 'a' is named 2 times"),
    "a subject twice in a part": ("train: {A: [a], A: [b]}\ntest: {B: [c]}\n", "key is there twice"),
    "an empty part": ("train: {A: [a]}\ntest: {}\n", "with a clip at least"),
    "no test part": ("train: {A: [a]}\n", "keys train and test"),
    "another part": ("train: {A: [a]}\ntest: {B: [b]}\nmore: {C: [c]}\n", "keys train and test"),
    "clips of nobody": ("train: [a]\ntest: [b]\n", "nobody says who 'a' is of"),
    "a clip that is no name": ("train: {A: [[a]]}\ntest: {B: [b]}\n", "neither a list of clips nor"),
    "a clip instead of a list": ("train: {A: a}\ntest: {B: [b]}\n", "neither a list of clips nor"),
    "no YAML": ("train: [\n", "not a split file"),
    "a list that is in itself": ("train: &x [*x]\ntest: [a]\n", "not a split file"),
    "nothing": ("", "keys train and test"),
}


@pytest.mark.parametrize("case", LEAKS)
def test_a_split_file_that_leaks_or_is_none_is_refused(case, refs):
    text, says = LEAKS[case]
    path = written(refs, text)
    with pytest.raises(FileError) as caught:
        find_references(f"{path}:train")
    assert says in str(caught.value)
    assert str(path) in str(caught.value)


def test_one_recording_under_two_names_in_both_parts_is_refused_whichever_part_is_asked_for(write_reference, tmp_path):
    for name, recording in (("s1/a", "same"), ("s1/b", ""), ("s2/c", "same")):
        write_reference(name, recording)
    path = written(tmp_path / "refs", "train: [s1/a, s1/b]\ntest: [s2/c]\n")
    for part in ("train", "test"):
        with pytest.raises(FileError, match=r"share a recording, s1/a\.ref\.safetensors and s2/c\.ref\.safetensors"):
            find_references(f"{path}:{part}")


def test_a_clip_without_a_reference_is_named(refs):
    path = written(refs, "train: {A: [a]}\ntest: {B: [e]}\n")
    with pytest.raises(FileError, match=r"e\.ref\.safetensors: no such file"):
        find_references(f"{path}:train")


@pytest.mark.parametrize("part", ["", ":", ":tests"])
def test_a_split_file_without_its_part_asks_for_it(part, refs):
    path = written(refs, GOOD)
    with pytest.raises(FileError, match=r"which part\? Say .*split\.yaml:train or .*split\.yaml:test"):
        find_references(f"{path}{part}")


def test_a_split_file_that_is_missing_is_named(tmp_path):
    with pytest.raises(FileError, match=r"nowhere\.yaml"):
        find_references(tmp_path / "nowhere.yaml:train")


def test_a_split_that_was_written_is_read_back(tmp_path):
    split = make_split({"x/1": "x", "y/1": "y", "z": "08", "x/2": "x"}, ["08", "y"])
    assert split.parts == {"train": {"x": ("x/1", "x/2")}, "test": {"y": ("y/1",), "08": ("z",)}}
    assert load_split(save_split(tmp_path / "split.yaml", split)).parts == split.parts


def test_a_test_subject_that_nobody_is_is_refused_with_those_there_are():
    with pytest.raises(FileError, match=r"no clip is of subject 9; there are 05, 08"):
        make_split({"a": "05", "b": "08"}, ["9"])


def test_an_index_tells_subjects_and_parts(tmp_path):
    index = tmp_path / "index.csv"
    index.write_text('clip,subject,description,split\na,05,"walk, fast",train\nb,08,,test\nc,05,,train\nmore,x,,test\n')
    assert split_of_index(index, ["a", "b", "c"]).parts == {"train": {"05": ("a", "c")}, "test": {"08": ("b",)}}
    assert split_of_index(index, ["a", "b"], ["05"]).parts == {"train": {"08": ("b",)}, "test": {"05": ("a",)}}


@pytest.mark.parametrize(
    "text", ["clip,subject\na,05\n", "clip,split\na,train\n", "a,b\n1,2\n", "", "clip,subject,split\nb,1,train\n"]
)
def test_an_index_without_a_column_or_a_clip_is_refused_by_name(text, tmp_path):
    (tmp_path / "index.csv").write_text(text)
    with pytest.raises(FileError, match=r"index\.csv: expected a CSV table"):
        split_of_index(tmp_path / "index.csv", ["a"])


def test_the_split_of_the_real_collection_is_that_of_its_index(data_root):
    index = data_root / "motions" / "cmu_many" / "index.csv"
    clips = [path.stem for path in index.parent.glob("*.npz")]
    split = split_of_index(index, clips)
    assert set(split.parts["test"]) == {"08", "10"}
    assert len(split.clips("train")) + len(split.clips("test")) == len(clips)
    by_subject = split_of_index(index, clips, ["08", "10"])
    assert {part: sorted(by_subject.clips(part)) for part in by_subject.parts} == {
        part: sorted(split.clips(part)) for part in split.parts
    }


@given(st.text(max_size=60) | st.recursive(st.text("ab:,[]{}&*-\n ", max_size=8), lambda x: st.lists(x).map(str)))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_is_a_split_or_refused(tmp_path, text):
    path = tmp_path / "split.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        split = load_split(path)
    except FileError:
        return
    assert split.clips("train")
    assert split.clips("test")
