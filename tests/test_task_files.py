import io
import json
import os
import tracemalloc
from datetime import UTC, datetime
from hashlib import sha256

import pytest

from scraper.errors import Misconfigured, Permanent
from scraper.models import ParkReason, Task
from scraper.ports import Message
from scraper.task_files import Defaults, Refused, TaskReader, check_sources, total_bytes

SCHEMA = {"type": "object", "properties": {"name": {"type": "string", "description": "Größe"}}}


def once(pairs):
    if len(names := [name for name, _ in pairs]) != len(set(names)):
        raise Permanent(ParkReason.BAD_TASK, f"the key {names[0]!r} twice")
    return dict(pairs)


def check_schema(schema):
    if "bad" in schema:
        raise Permanent(ParkReason.BAD_SCHEMA, "schema #: is bad")


def decode(body):
    """What the pipeline's reading of a body amounts to here: one source, a schema, an id."""
    task = json.loads(body, object_pairs_hook=once)
    if len({"url", "html", "text"} & set(task)) != 1:
        raise Permanent(ParkReason.BAD_TASK, "exactly one of url, html and text is needed")
    if not isinstance(task.get("schema"), dict | str):
        raise Permanent(ParkReason.BAD_SCHEMA, "schema is missing")
    digest = sha256(body).hexdigest()
    return Task(
        task_id=task.get("task_id", digest[:8]),
        schema=task["schema"],
        content_sha256=digest,
        priority=task.get("priority", "normal"),
    )


def named_schema(name):
    if name != "product":
        raise Permanent(ParkReason.BAD_SCHEMA, f"no schema is called {name!r}")
    return SCHEMA


def reader(defaults=Defaults(schema=SCHEMA), **options):  # noqa: B008 frozen
    checks = {"decode": decode, "named_schema": named_schema, "check_schema": check_schema}
    return TaskReader(**checks, defaults=defaults, **options)


def contents(sources, **options):
    """What was read, without blank lines and comments."""
    entries = reader(**options).read([str(source) for source in sources])
    return [entry.content for entry in entries if entry.content is not None]


def of_bytes(tmp_path, body, **options):
    file = tmp_path / "input"
    file.write_bytes(body)
    return contents([file], **options)


def bodies(messages):
    assert [type(message) for message in messages] == [Message] * len(messages)
    return [json.loads(message.body) for message in messages]


def test_a_url_a_line_becomes_a_task_each(tmp_path):
    read = of_bytes(tmp_path, b"https://a.example/1\n\n  # a comment\nhttps://a.example/2#part  \n")
    assert bodies(read) == [
        {"url": "https://a.example/1", "schema": SCHEMA},
        {"url": "https://a.example/2#part", "schema": SCHEMA},
    ]


@pytest.mark.parametrize(
    "body",
    [
        b"\xef\xbb\xbfhttps://a.example/1\r\nhttps://a.example/2\r\n",
        b"https://a.example/1\nhttps://a.example/2",
        b"\n\n\thttps://a.example/1\n \r\nhttps://a.example/2\n\n",
    ],
)
def test_marks_and_line_endings_of_any_system_are_understood(tmp_path, body):
    assert [task["url"] for task in bodies(of_bytes(tmp_path, body))] == ["https://a.example/1", "https://a.example/2"]


def test_lines_of_tasks_and_of_urls_may_be_mixed(tmp_path):
    read = of_bytes(tmp_path, b'{"text": "a", "task_id": "mine", "priority": "high"}\nhttps://a.example/\n')
    assert bodies(read)[0] == {"text": "a", "task_id": "mine", "priority": "high", "schema": SCHEMA}
    assert (read[0].task_id, read[0].priority) == ("mine", "high")
    assert bodies(read)[1]["url"] == "https://a.example/"


def test_a_line_that_says_everything_is_passed_on_untouched(tmp_path):
    line = b'{"text":"a" , "schema" : {"b":1.0}, "instructions":"\\u00fc", "b": 1e400}'
    (message,) = of_bytes(tmp_path, line + b"\r\n", defaults=Defaults())
    assert message.body == line


def test_what_a_line_says_itself_stays_and_what_it_leaves_out_is_added(tmp_path):
    expires_at = datetime(2027, 1, 1, tzinfo=UTC)
    defaults = Defaults(schema=SCHEMA, instructions="Ünten", priority="high", expires_at=expires_at)
    own = {"type": "array"}
    lines = [
        {"text": "a", "schema": own, "instructions": "", "priority": "normal"},
        {"text": "a"},
    ]
    read = of_bytes(tmp_path, "\n".join(map(json.dumps, lines)).encode(), defaults=defaults)
    assert bodies(read) == [
        {"text": "a", "schema": own, "instructions": "", "priority": "normal", "expires_at": expires_at.isoformat()},
        {
            "text": "a",
            "schema": SCHEMA,
            "instructions": "Ünten",
            "priority": "high",
            "expires_at": expires_at.isoformat(),
        },
    ]


def test_a_schema_that_a_task_names_is_put_in(tmp_path):
    (task,) = bodies(of_bytes(tmp_path, b'{"schema": "product", "text": "a"}', defaults=Defaults(schema={"x": 1})))
    assert task == {"text": "a", "schema": SCHEMA}


REFUSALS = [
    (b"{", "not JSON: Expecting property name enclosed in double quotes at character 2"),
    (b'{"text": "a"} x', "not JSON: Extra data at character 15"),
    (b"[1, 2]", "not a task: one JSON object a line is expected"),
    (b'{"text": "a", "schema": {"bad": 1}}', "schema #: is bad"),
    (b'{"text": "a", "schema": "product", "text": "b"}', "the key 'text' twice"),
    (b"{}", "exactly one of url, html and text is needed"),
    (b'{"text": "a", "schema": "missing"}', "no schema is called 'missing'"),
    (b'{"text": "a", "schema": 5}', "schema is missing"),
    ("https://a.example/ü".encode("latin-1"), "not UTF-8 (byte 19); save the file as UTF-8"),
    (b"x" * 2000, "longer than the largest task (1000 bytes, TASK_MAX_BYTES)"),
    (b'{"text": ' + b"[" * 400 + b"]" * 400 + b"}", None),
]


@pytest.mark.parametrize(("line", "why"), REFUSALS)
def test_a_bad_line_is_named_and_the_rest_is_read(tmp_path, line, why):
    read = of_bytes(tmp_path, b"https://a.example/1\n\n" + line + b"\nhttps://a.example/2\n", max_task_bytes=1000)
    assert [type(each) for each in read[::2]] == [Message, Message]
    if why is not None:
        assert read[1] == Refused(str(tmp_path / "input"), 3, why)
        assert str(read[1]) == f"{tmp_path / 'input'} line 3: {why}"


def test_a_task_that_says_null_is_told_how_to_get_the_schema_that_was_named(tmp_path):
    (refused,) = of_bytes(tmp_path, b'{"text": "a", "schema": null}')
    assert refused.why == "schema: null; leave it out to get the one of --schema"


class Failing(io.BytesIO):
    """A disk, a network share or a terminal that goes away in the middle."""

    def readline(self, size=-1, /):
        return super().readline(size) or self.fail()

    def fail(self):
        raise OSError(5, "Input/output error")


def test_reading_that_fails_in_the_middle_is_told_with_the_line_it_came_to():
    first, second, refused = contents(["-"], stdin=Failing(b"https://a.example/1\nhttps://a.example/2\n"))
    assert isinstance(first, Message)
    assert isinstance(second, Message)
    assert str(refused) == "stdin line 3: cannot be read (Input/output error)"


@pytest.mark.parametrize("line", [b"https://a.example/", b'{"text": "a"}'])
def test_a_task_without_any_schema_is_told_where_to_name_one(tmp_path, line):
    (refused,) = of_bytes(tmp_path, line, defaults=Defaults())
    assert refused.why == "no schema: name one with --schema, or give the task its own"


def test_json_nested_beyond_reason_is_refused(tmp_path):
    (refused,) = of_bytes(tmp_path, b'{"text": ' + b"[" * 100_000)
    assert refused == Refused(str(tmp_path / "input"), 1, "not a task: nested too deeply")


def test_utf_16_is_recognised(tmp_path):
    refused, *_ = of_bytes(tmp_path, "https://a.example/1\n".encode("utf-16"))
    assert refused.why == "UTF-16; save the file as UTF-8"


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b""])
def test_a_line_of_exactly_the_largest_size_is_read(tmp_path, ending):
    line = b'{"schema": {}, "text": "%s"}' % (b"x" * 900)
    read = of_bytes(tmp_path, line + ending, max_task_bytes=len(line), defaults=Defaults())
    assert [message.body for message in read] == [line]


def test_a_line_of_any_length_is_passed_over_in_constant_memory(tmp_path):
    file = tmp_path / "input"
    with file.open("wb") as out:
        for _ in range(64):
            out.write(b"x" * (1 << 20))
        out.write(b"\nhttps://a.example/\n")
    tracemalloc.start()
    first, second = contents([file], max_task_bytes=10_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert isinstance(first, Refused)
    assert isinstance(second, Message)
    assert peak < 4 << 20


def test_a_page_is_a_task_with_its_name(tmp_path):
    file = tmp_path / "Seite.HTML"
    file.write_text('\ufeff<p>"Grüße"</p>', encoding="utf-8")
    assert bodies(contents([file])) == [
        {"html": '<p>"Grüße"</p>', "metadata": {"file": "Seite.HTML"}, "schema": SCHEMA},
    ]


def test_a_folder_is_read_with_the_folders_below_in_order(tmp_path):
    for name in ("b.html", "a.htm", "sub/c.xhtml", "sub/a.html", "notes.txt", "a sub/z.html"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"<p>{name}")
    (tmp_path / "sub" / "round").symlink_to(tmp_path)
    names = [task["metadata"]["file"] for task in bodies(contents([tmp_path]))]
    assert names == ["a.htm", "b.html", "a sub/z.html", "sub/a.html", "sub/c.xhtml"]


def test_pages_are_decoded_as_they_are_told_to_be(tmp_path):
    (tmp_path / "a.html").write_bytes(b"<p>\xfc")
    (task,) = bodies(contents([tmp_path], decode_page=lambda body: body.decode("latin-1")))
    assert task["html"] == "<p>ü"


def test_a_page_that_cannot_be_read_is_named_and_the_rest_is_read(tmp_path):
    (tmp_path / "a.html").write_bytes(b"<p>\xfc")
    (tmp_path / "b.html").write_bytes(b"x" * 2000)
    (tmp_path / "c.html").symlink_to(tmp_path / "nowhere")
    (tmp_path / "d.html").write_text("<p>")
    *refused, last = contents([tmp_path], max_task_bytes=1000)
    assert [str(each).removeprefix(str(tmp_path)) for each in refused] == [
        "/a.html: 'utf-8' codec can't decode byte 0xfc in position 3: invalid start byte",
        "/b.html: larger than the largest task (1000 bytes, TASK_MAX_BYTES)",
        "/c.html: cannot be read (No such file or directory)",
    ]
    assert isinstance(last, Message)


def test_what_is_no_file_is_no_page_whatever_it_is_called(tmp_path):
    os.mkfifo(tmp_path / "a.html")
    (tmp_path / "b.html").symlink_to("/dev/zero")
    (tmp_path / "c.html").write_text("<p>")
    *refused, last = contents([tmp_path])
    assert [each.why for each in refused] == ["not a file: a page is read from nothing else"] * 2
    assert isinstance(last, Message)


def test_standard_input_is_read_where_a_dash_stands():
    read = contents(["-"], stdin=io.BytesIO(b"https://a.example/1\n{\n"))
    assert isinstance(read[0], Message)
    assert str(read[1]).startswith("stdin line 2: not JSON")


def test_sizes_add_up_to_what_there_was_to_read(tmp_path):
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "a.html").write_text("<p>ü")
    (tmp_path / "urls.txt").write_bytes(b"# comment\n\nhttps://a.example/\r\n{\n" + b"x" * 3000 + b"\nlast")
    sources = [str(tmp_path / "pages"), str(tmp_path / "urls.txt"), str(tmp_path / "pages" / "a.html")]
    entries = list(reader(max_task_bytes=1000).read(sources))
    assert sum(entry.size for entry in entries) == total_bytes(sources)
    assert total_bytes([*sources, "-"]) is None


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        (["missing.txt"], r"missing.txt: no such file or folder$"),
        (["https://a.example/"], r"https://a.example/: no such file or folder; addresses stand in a file, one a line"),
        (["empty"], r"empty: no page in this folder \(files ending in .html"),
        (["-", "-"], r"- \(standard input\) is named twice"),
    ],
)
def test_sources_that_cannot_be_right_are_refused_at_once(tmp_path, monkeypatch, sources, message):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Misconfigured, match=message):
        check_sources(sources)


def test_sources_that_are_there_pass(tmp_path):
    (tmp_path / "a.html").touch()
    check_sources([str(tmp_path), str(tmp_path / "a.html"), "-"])
    assert contents([tmp_path / "a.html"]) != []


def test_a_link_that_leads_nowhere_is_refused_by_its_name_and_the_pages_beside_it_are_read(tmp_path):
    (tmp_path / "a.html").symlink_to(tmp_path / "nowhere")
    (tmp_path / "b.html").write_text("<p>Kettle</p>")
    assert total_bytes([str(tmp_path)]) == len("<p>Kettle</p>")
    refused, page = contents([tmp_path])
    assert str(refused) == f"{tmp_path / 'a.html'}: cannot be read (No such file or directory)"
    assert isinstance(page, Message)


def test_a_folder_that_may_not_be_looked_into_is_refused_by_its_name_and_the_others_are_read(tmp_path, monkeypatch):
    for name in ("a", "secret", "z"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "page.html").write_text("<p>Kettle</p>")

    def scandir(path, *, look=os.scandir):
        if os.fspath(path).endswith("secret"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return look(path)

    monkeypatch.setattr(os, "scandir", scandir)
    read = contents([tmp_path])
    assert [type(each) for each in read] == [Message, Message, Refused]
    assert str(read[-1]) == f"{tmp_path / 'secret'}: cannot be read (Permission denied)"
    check_sources([str(tmp_path / "secret")])  # it is not said to be empty: reading it says what is wrong


def test_a_table_of_nothing_but_addresses_is_a_list(tmp_path):
    (tmp_path / "urls.csv").write_bytes(b"\xef\xbb\xbfhttps://a.example/1\r\nhttps://a.example/2\r\n")
    check_sources([str(tmp_path / "urls.csv")])
    assert [body["url"] for body in bodies(contents([tmp_path / "urls.csv"]))] == [
        "https://a.example/1",
        "https://a.example/2",
    ]


@pytest.mark.parametrize(
    "first", ["url", "https://a.example/1,Kettle", "https://a.example/1;5", '"https://a.example/"']
)
def test_any_other_table_is_refused_with_what_is_read_instead(tmp_path, first):
    (tmp_path / "shop.csv").write_text(f"{first}\nhttps://a.example/2\n")
    with pytest.raises(Misconfigured, match=r"shop\.csv: tables are not read; .* one URL a line and nothing else"):
        check_sources([str(tmp_path / "shop.csv")])


def test_standard_input_that_is_closed_is_said_before_anything_is_read(monkeypatch):
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(Misconfigured, match=r"standard input\) is closed"):
        check_sources(["-"])
