//! The command line as its users meet it: the built binary, real files, pipes and exit statuses.
#![cfg(feature = "cli")]

use mapstone::Store;
use serde_json::Value as Json;
use std::{
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader, Read, Write},
    os::unix::{ffi::OsStrExt, fs::symlink},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_mapstone");

/// A directory of its own, with the path of a store that is not there yet.
struct Place {
    directory: TempDir,
    store: PathBuf,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = directory.path().join("store");
        Self { directory, store }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A command on the store.
    fn command(&self, command: &str) -> Command {
        let mut built = Command::new(BINARY);
        built.arg(command).arg(&self.store).current_dir(self.directory.path());
        built
    }

    fn run<A: AsRef<OsStr>>(&self, command: &str, args: impl IntoIterator<Item = A>) -> Output {
        self.command(command).args(args).stdin(Stdio::null()).output().unwrap()
    }

    /// A command that must succeed in silence on standard error; its standard output.
    fn ok<A: AsRef<OsStr>>(&self, command: &str, args: impl IntoIterator<Item = A>) -> Vec<u8> {
        let output = self.run(command, args);
        assert_eq!(status(&output), 0, "{command}: {output:?}");
        assert!(output.stderr.is_empty(), "{command}: {output:?}");
        output.stdout
    }

    /// A command that must end with exit status 2 and one line on standard error; that line.
    fn error<A: AsRef<OsStr>>(&self, command: &str, args: impl IntoIterator<Item = A>) -> String {
        error_line(self.run(command, args))
    }

    fn fed(&self, command: &str, args: &[&str], input: &[u8]) -> Output {
        let mut child = piped(self.command(command).args(args));
        child.stdin.take().unwrap().write_all(input).unwrap();
        child.wait_with_output().unwrap()
    }

    /// `list` with arguments, its lines sorted.
    fn list(&self, args: &[&str]) -> Vec<String> {
        sorted(self.ok("list", args))
    }

    fn json(&self, command: &str) -> Json {
        serde_json::from_slice(&self.ok(command, ["--json"])).unwrap()
    }
}

fn piped(command: &mut Command) -> Child {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn status(output: &Output) -> i32 {
    output.status.code().expect("an exit status")
}

fn error_line(output: Output) -> String {
    assert_eq!(status(&output), 2, "{output:?}");
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        text.starts_with("mapstone: ") && text.ends_with('\n') && text.lines().count() == 1,
        "{text}"
    );
    text
}

fn sorted(text: Vec<u8>) -> Vec<String> {
    let mut lines: Vec<_> = String::from_utf8(text).unwrap().lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// Every file below `root` with its bytes, by relative path.
fn files(root: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found: Vec<_> = walkdir::WalkDir::new(root)
        .into_iter()
        .map(Result::unwrap)
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| {
            (entry.path().strip_prefix(root).unwrap().to_owned(), fs::read(entry.path()).unwrap())
        })
        .collect();
    found.sort();
    found
}

const NONE: [&str; 0] = [];

#[test]
fn put_get_del_and_their_exit_statuses() {
    let place = Place::new();
    place.ok("put", ["key", "a value\n"]);
    assert_eq!(place.ok("get", ["key"]), b"a value\n");
    place.ok("put", ["key", ""]);
    assert_eq!(place.ok("get", ["key"]), b"");
    let absent = place.run("get", ["other"]);
    assert_eq!((status(&absent), &absent.stdout[..], &absent.stderr[..]), (1, &b""[..], &b""[..]));
    place.ok("del", ["key"]);
    assert_eq!(status(&place.run("get", ["key"])), 1);
    assert_eq!(status(&place.run("del", ["key"])), 1);
    place.ok("put", ["--durability", "eventual", "--", "-k", "-v"]);
    assert_eq!(place.ok("get", ["--", "-k"]), b"-v");
}

#[test]
fn any_bytes_go_in_and_come_out() {
    let place = Place::new();
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    assert_eq!(status(&place.fed("put", &["bytes", "-"], &bytes)), 0);
    assert_eq!(place.ok("get", ["bytes"]), bytes);
    place.ok("put", [OsStr::from_bytes(b"\xff\t"), OsStr::from_bytes(b"\xfe")]);
    assert_eq!(place.ok("get", ["-e", r"\xff\t"]), b"\xfe");
    assert_eq!(place.list(&[]), [r"\xff\t", "bytes"]);
    place.ok("put", ["--escaped", r"nul\x00", "x"]);
    assert_eq!(place.list(&["--prefix", "nul"]), [r"nul\x00"]);
}

#[test]
fn errors_are_one_line_and_change_nothing() {
    let place = Place::new();
    for (command, args) in [
        ("get", &["key"][..]),
        ("del", &["key"]),
        ("list", &[]),
        ("stat", &[]),
        ("verify", &[]),
        ("export", &[]),
    ] {
        let line = place.error(command, args);
        assert!(line.contains("store"), "{line}");
        assert!(!place.store.exists(), "{command} created a store");
    }
    place.error("import", ["no-such-file.tsv"]);
    assert!(!place.store.exists(), "a failed import created a store");
    place.error("get", ["-e", r"\q"]);
    fs::write(&place.store, "not a directory").unwrap();
    place.error("put", ["key", "value"]);
    assert_eq!(fs::read(&place.store).unwrap(), b"not a directory");
    // Misuse is told at more length, with the same status.
    assert_eq!(status(&place.run("get", NONE)), 2);
    assert_eq!(status(&place.run("import", ["x.tsv", "--batch", "0"])), 2);
}

#[test]
fn a_second_writer_is_refused_and_readers_read_beside_the_first() {
    let place = Place::new();
    let (mut writer, mut input) = slow_import(&place);
    assert_eq!(place.ok("get", ["first"]), b"1");
    let line = place.error("put", ["key", "value"]);
    assert!(line.contains(&writer.id().to_string()), "{line}");
    input.write_all(b"second\t2\n").unwrap();
    drop(input);
    assert!(writer.wait().unwrap().success());
    assert_eq!(place.list(&["--values"]), ["first\t1", "second\t2"]);
}

#[test]
fn a_killed_writers_store_is_recovered_by_any_command() {
    for command in ["get", "list", "stat", "verify", "export", "put"] {
        let place = Place::new();
        let (mut writer, input) = slow_import(&place);
        writer.kill().unwrap();
        writer.wait().unwrap();
        drop(input);
        let args: &[&str] = match command {
            "get" => &["first"],
            "put" => &["second", "2"],
            _ => &[],
        };
        place.ok(command, args);
        assert_eq!(place.ok("get", ["first"]), b"1", "after {command}");
    }
}

/// An import from a pipe that has committed its first entry, first = 1, and waits for more.
fn slow_import(place: &Place) -> (Child, impl Write) {
    let mut writer = piped(place.command("import").args(["-", "--format", "tsv", "--batch", "1"]));
    let mut input = writer.stdin.take().unwrap();
    input.write_all(b"first\t1\n").unwrap();
    let start = Instant::now();
    while status(&place.run("get", ["first"])) != 0 {
        assert!(start.elapsed() < Duration::from_secs(30), "the writer does not commit");
        std::thread::sleep(Duration::from_millis(5));
    }
    (writer, input)
}

#[test]
fn tables_are_keyspaces_of_their_own() {
    let place = Place::new();
    place.ok("put", ["key", "default"]);
    place.ok("put", ["key", "named", "--table", "users"]);
    assert_eq!(place.ok("get", ["key"]), b"default");
    assert_eq!(place.ok("get", ["key", "--table", "users"]), b"named");
    assert_eq!(place.list(&["--tables"]), ["users"]);
    assert_eq!(place.list(&["--tables", "--json"]), [r#"{"table":"users"}"#]);
    assert_eq!(place.list(&["--table", "users", "--values"]), ["key\tnamed"]);
    for command in ["get", "del"] {
        assert!(place.error(command, ["key", "--table", "typo"]).contains("typo"));
    }
    place.ok("del", ["key", "--table", "users"]);
    assert_eq!(place.ok("get", ["key"]), b"default");
    assert_eq!(place.list(&["--tables"]), ["users"], "a refused deletion created a table");
}

#[test]
fn list_narrows_and_escapes() {
    let place = Place::new();
    assert_eq!(
        status(&place.fed("import", &["-", "--format", "tsv"], b"a1\tx\na2\ty\nb\\t\tz\\n\n")),
        0
    );
    assert_eq!(place.list(&[]), ["a1", "a2", "b\\t"]);
    assert_eq!(place.list(&["--prefix", "a", "--values"]), ["a1\tx", "a2\ty"]);
    assert_eq!(place.list(&["--limit", "2"]).len(), 2);
    assert_eq!(place.list(&["--prefix", "a", "--limit", "0"]).len(), 0);
    assert_eq!(place.list(&["--json", "--prefix", "b"]), [r#"{"key":"b\t","value_bytes":2}"#]);
    assert_eq!(
        place.list(&["--json", "--values", "--prefix", "b"]),
        [r#"{"key":"b\t","value":"z\n"}"#]
    );
}

#[test]
fn list_into_head_ends_quietly() {
    let place = Place::new();
    let lines: String =
        (0..50_000).map(|number| format!("a rather long key, number {number}\t\n")).collect();
    fs::write(place.path("many.tsv"), lines).unwrap();
    place.ok("import", ["many.tsv"]);
    for command in ["list", "export"] {
        let mut child = piped(&mut place.command(command));
        let mut line = String::new();
        // The reader goes, and with it its end of the pipe, long before everything is written.
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("a rather long key"));
        let output = child.wait_with_output().unwrap();
        assert_eq!((status(&output), &output.stderr[..]), (0, &b""[..]), "{command}: {output:?}");
    }
}

#[test]
fn a_tree_round_trips() {
    let place = Place::new();
    let tree = place.path("tree");
    fs::create_dir_all(tree.join("deep/er")).unwrap();
    fs::write(tree.join("empty"), "").unwrap();
    fs::write(tree.join("deep/er/bytes"), [0, 255, 10]).unwrap();
    fs::write(tree.join(OsStr::from_bytes(b"caf\xe9 \n")), "latin").unwrap();
    symlink("empty", tree.join("link")).unwrap();
    let said = String::from_utf8(place.ok("import", ["tree"])).unwrap();
    assert!(said.contains("3 entries") && said.contains("skipped 1 link"), "{said}");
    assert_eq!(place.ok("get", ["deep/er/bytes"]), [0, 255, 10]);
    place.ok("export", ["--to-dir", "back"]);
    assert_eq!(files(&place.path("back")), files(&tree));
    // Once more over what is there.
    place.ok("put", ["empty", "not any more"]);
    place.ok("export", ["--to-dir", "back"]);
    assert_eq!(fs::read(place.path("back/empty")).unwrap(), b"not any more");
}

#[test]
fn a_store_within_the_tree_is_left_out() {
    let place = Place::new();
    fs::write(place.path("file"), "content").unwrap();
    place.ok("import", ["."]);
    assert_eq!(place.list(&[]), ["file"]);
}

#[test]
fn a_key_that_would_leave_the_directory_is_refused() {
    for key in ["../out", "a/../../out", "/tmp/out", "a/..", "", ".", "a//b", "a/"] {
        let place = Place::new();
        place.ok("put", ["good", "value"]);
        place.ok("put", [key, "value"]);
        let line = place.error("export", ["--to-dir", "dir"]);
        assert!(line.contains("cannot be a file"), "{line}");
        assert!(!place.path("dir").exists() && !place.path("out").exists(), "{key} was written");
    }
    let place = Place::new();
    place.ok("put", ["a", "1"]);
    place.ok("put", ["a/b", "2"]);
    assert!(place.error("export", ["--to-dir", "dir"]).contains("below it"));
    place.ok("del", ["a"]);
    fs::create_dir_all(place.path("dir")).unwrap();
    fs::create_dir_all(place.path("elsewhere")).unwrap();
    symlink("../elsewhere", place.path("dir/a")).unwrap();
    place.error("export", ["--to-dir", "dir"]);
    assert!(files(&place.path("elsewhere")).is_empty(), "a symbolic link was followed");
}

#[test]
fn tsv_and_json_lines_round_trip_any_bytes() {
    let all: Vec<u8> = (0..=255).collect();
    let entries: [(&[u8], &[u8]); 6] = [
        (b"", b""),
        (b"key", b"value"),
        (b"\xff\t", b"\r\n\\"),
        ("größe".as_bytes(), b"\xc3"),
        (&all, &all),
        (b"\\x41", b"A"),
    ];
    for (format, extension) in [("tsv", "tsv"), ("jsonl", "ndjson")] {
        let (from, to) = (Place::new(), Place::new());
        let source = mapstone::Store::open(&from.store).unwrap();
        for (key, value) in entries {
            source.put(key, value).unwrap();
        }
        source.close().unwrap();
        let text = from.ok("export", ["--format", format]);
        let file = to.path("entries").with_extension(extension);
        fs::write(&file, &text).unwrap();
        to.ok("import", [file]);
        assert_eq!(sorted(to.ok("export", ["--format", format])), sorted(text), "{format}");
        let copy = mapstone::Store::open_read_only(&to.store).unwrap();
        assert_eq!(copy.stats().unwrap().entries, entries.len() as u64);
        for (key, value) in entries {
            assert_eq!(copy.get(key).unwrap().as_deref(), Some(value), "{format}: {key:?}");
        }
    }
}

#[test]
fn json_lines_take_base64_and_tables() {
    let place = Place::new();
    let lines = br#"{"key":"a","value":"1"}
{"key_base64":"/w==","value_base64":"/v0"}

{"table":"t","key":"a","value":"2"}
"#;
    let output =
        place.fed("import", &["-", "--format", "jsonl", "--table", "rest", "--batch", "2"], lines);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.starts_with("imported 3 entries") && said.contains("in 2 batches"), "{said}");
    assert_eq!(place.ok("get", ["a", "--table", "t"]), b"2");
    assert_eq!(place.ok("get", ["-e", r"\xff", "--table", "rest"]), b"\xfe\xfd");
    place.ok("put", ["a", "3"]);
    let all = sorted(place.ok("export", ["--format", "jsonl", "--all-tables"]));
    assert_eq!(all[0], r#"{"key":"a","value":"3"}"#);
    assert_eq!(all[1], r#"{"table":"rest","key":"a","value":"1"}"#);
    assert_eq!(all.len(), 4);
}

#[test]
fn a_wrong_line_is_named_and_whole_batches_before_it_stay() {
    for (format, lines, reason) in [
        ("tsv", "a\t1\nb\t2\nc\t3\nno tab\n", "no tab"),
        ("tsv", "a\t1\nb\t2\nc\t3\nd\t\\q\n", "unknown escape \\q"),
        (
            "jsonl",
            "{\"key\":\"a\",\"value\":\"1\"}\n{\"key\":\"b\",\"value\":\"2\"}\n\n{\"key\":\"d\"}\n",
            "neither value",
        ),
    ] {
        for durability in ["immediate", "eventual"] {
            let place = Place::new();
            let args = ["-", "--format", format, "--batch", "2", "--durability", durability];
            let line = error_line(place.fed("import", &args, lines.as_bytes()));
            assert!(
                line.contains("line 4")
                    && line.contains(reason)
                    && line.contains("after 2 entries"),
                "{line}"
            );
            assert_eq!(place.list(&[]), ["a", "b"]);
        }
    }
    let place = Place::new();
    assert!(error_line(place.fed("import", &["-"], b"")).contains("--format"));
    fs::write(place.path("name.txt"), "a\t1\n").unwrap();
    assert!(place.error("import", ["name.txt"]).contains("--format"));
    place.ok("import", ["name.txt", "--format", "tsv"]);
}

#[test]
fn stat_has_its_fields() {
    let place = Place::new();
    place.ok("put", ["key", "value"]);
    place.ok("put", ["key", "value", "--table", "users"]);
    let stat = place.json("stat");
    for field in [
        "segments",
        "file_bytes",
        "live_bytes",
        "dead_bytes",
        "index_bytes",
        "committed",
        "durable",
        "checkpoint",
    ] {
        assert!(stat[field].is_u64(), "{field}: {stat}");
    }
    assert_eq!((&stat["entries"], &stat["tables"]), (&2.into(), &1.into()));
    assert!(stat["durable"].as_u64() <= stat["committed"].as_u64());
    let table = String::from_utf8(place.ok("stat", NONE)).unwrap();
    assert!(table.starts_with("entries       2\n") && table.contains("B"), "{table}");
}

#[test]
fn verify_names_the_damage() {
    let place = Place::new();
    place.ok("put", ["key", "a value that nothing else looks like"]);
    place.ok("put", ["other", "another value"]);
    let sound = place.json("verify");
    assert_eq!(
        (&sound["ok"], &sound["entries"], &sound["damage"]),
        (&true.into(), &2.into(), &Json::Array(vec![]))
    );
    assert!(String::from_utf8(place.ok("verify", NONE)).unwrap().starts_with("no damage"));

    let (file, offset) = damage(&place.store, b"nothing else looks like");
    let name = file.file_name().unwrap().to_str().unwrap();
    let found = place.run("verify", NONE);
    assert_eq!(status(&found), 3, "{found:?}");
    let text = String::from_utf8(found.stdout).unwrap();
    assert!(text.contains(name) && text.contains("offset"), "{text}");
    let found = place.run("verify", ["--json"]);
    assert_eq!(status(&found), 3, "{found:?}");
    let report: Json = serde_json::from_slice(&found.stdout).unwrap();
    assert_eq!(report["ok"], false);
    let first = &report["damage"][0];
    assert!(first["file"].as_str().unwrap().ends_with(name), "{report}");
    let named = first["offset"].as_u64().unwrap();
    assert!(named <= offset && offset - named < 200, "byte {offset} was damaged: {report}");
    assert!(first["expected"].is_string() && first["found"].is_string());
}

#[test]
fn repair_salvages_into_a_new_store_and_leaves_the_old() {
    let place = Place::new();
    place.ok("put", ["key", "a value that nothing else looks like"]);
    place.ok("put", ["other", "another value"]);
    place.ok("put", ["--table", "named", "third", "value"]);
    let (file, offset) = damage(&place.store, b"nothing else looks like");
    let before = files(&place.store);
    let new = place.path("new");
    let args = ["--to", new.to_str().unwrap(), "--json"];
    let found = place.run("repair", args);
    assert_eq!(status(&found), 3, "{found:?}");
    assert!(found.stderr.is_empty(), "{found:?}");
    let report: Json = serde_json::from_slice(&found.stdout).unwrap();
    assert_eq!((&report["complete"], &report["entries"]), (&false.into(), &2.into()), "{report}");
    let lost = &report["lost"][0];
    assert!(lost["file"].as_str().unwrap().ends_with(file.file_name().unwrap().to_str().unwrap()));
    let range = lost["from"].as_u64().unwrap()..lost["to"].as_u64().unwrap();
    assert!(range.contains(&offset), "byte {offset} was damaged: {report}");
    assert_eq!(report["keys"][0]["key"], "key", "{report}");
    assert_eq!(report["keys"][0]["older_value"], false, "{report}");
    assert!(files(&place.store) == before, "the damaged store was written to");

    let refused = place.error("repair", args);
    assert!(refused.contains("there is already"), "{refused}");
    let salvaged = Place { directory: tempfile::tempdir().unwrap(), store: new };
    assert_eq!(salvaged.list(&[]), ["other"]);
    assert_eq!(salvaged.list(&["--table", "named"]), ["third"]);
    assert_eq!(salvaged.json("verify")["ok"], true);

    let text = place.run("repair", ["--to", place.path("again").to_str().unwrap()]);
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("lost: ") && text.contains("key: key, by a guess"), "{text}");
    assert!(text.ends_with("1 segment\n"), "{text}");
    assert!(!place.path("again.unfinished").exists());
}

#[test]
fn repair_builds_an_index_anew() {
    let place = Place::new();
    place.ok("put", ["key", "value"]);
    fs::remove_file(place.store.join("index")).unwrap();
    fs::write(place.store.join("checkpoint.a"), "noise").unwrap();
    assert_eq!(status(&place.run("verify", NONE)), 3);
    let text = String::from_utf8(place.ok("repair", ["--index"])).unwrap();
    assert!(text.starts_with("built the index of 1 entry"), "{text}");
    assert_eq!(place.ok("get", ["key"]), b"value");
    assert_eq!(place.json("verify")["ok"], true);
    let again: Json = serde_json::from_slice(&place.ok("repair", ["--index", "--json"])).unwrap();
    assert_eq!(again["entries"], 1, "{again}");
}

#[test]
fn repair_refuses_what_it_cannot_do() {
    let place = Place::new();
    let new = place.path("new");
    let to = ["--to", new.to_str().unwrap()];
    assert!(place.error("repair", to).contains("there is no store"));
    assert!(place.error("repair", ["--index"]).contains("there is no store"));
    fs::create_dir(&place.store).unwrap();
    assert!(place.error("repair", to).contains("is not a mapstone store"));
    fs::remove_dir(&place.store).unwrap();
    place.ok("put", ["key", "value"]);
    let inside = place.store.join("new");
    assert!(place.error("repair", ["--to", inside.to_str().unwrap()]).contains("inside"));
    fs::create_dir(place.path("new.unfinished")).unwrap();
    fs::write(place.path("new.unfinished/letter"), "precious").unwrap();
    assert!(place.error("repair", to).contains("already"));
    assert_eq!(fs::read(place.path("new.unfinished/letter")).unwrap(), b"precious");
    fs::remove_file(place.path("new.unfinished/letter")).unwrap();
    place.ok("repair", to);
    damage(&place.store, b"value");
    assert!(place.error("repair", ["--index"]).contains("damaged"));
    for args in [&[][..], &["--index", "--to", "elsewhere"]] {
        assert_eq!(status(&place.run("repair", args)), 2);
    }
}

#[test]
fn verify_names_a_superblock_that_is_damaged_or_gone() {
    for (at, flipped) in [(0, 0x20), (8, 3), (20, 0xFF), (44, 0xFF)] {
        let place = Place::new();
        place.ok("put", ["key", "value"]);
        let meta = place.store.join("meta");
        let mut bytes = fs::read(&meta).unwrap();
        bytes[at] ^= flipped;
        fs::write(&meta, &bytes).unwrap();
        let found = place.run("verify", ["--json"]);
        assert_eq!(status(&found), 3, "byte {at}: {found:?}");
        let report: Json = serde_json::from_slice(&found.stdout).unwrap();
        assert!(report["damage"][0]["file"].as_str().unwrap().ends_with("meta"), "{report}");
        for whole in [false, true] {
            if whole {
                fs::remove_file(&meta).unwrap()
            } else {
                fs::write(&meta, [0; 12288]).unwrap()
            }
            assert_eq!(status(&place.run("verify", NONE)), 3, "{whole}");
        }
    }
}

/// Changes the first byte of `content` wherever the store's log has it; the file and the byte's offset.
fn damage(store: &Path, content: &[u8]) -> (PathBuf, u64) {
    for (name, mut bytes) in files(store) {
        if let Some(at) = bytes.windows(content.len()).position(|window| window == content) {
            bytes[at] ^= 1;
            let file = store.join(name);
            fs::write(&file, bytes).unwrap();
            return (file, at as u64);
        }
    }
    panic!("no file of the store holds the value");
}

#[test]
fn the_tour_of_a_small_tree() {
    let place = Place::new();
    fs::create_dir_all(place.path("tree/deep")).unwrap();
    for number in 0..30 {
        let content = vec![number; usize::from(number) * 500];
        fs::write(place.path(&format!("tree/deep/{number}")), content).unwrap();
    }
    symlink("nowhere", place.path("tree/link")).unwrap();
    let mut tour = Command::new(BINARY);
    tour.arg("tour").arg(place.path("tree")).arg("--store").arg(&place.store);
    let output = tour.output().unwrap();
    assert_eq!((status(&output), &output.stderr[..]), (0, &b""[..]), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let parts = ["30 files", "1 skipped", "by SIGKILL", "none in half", "no damage", "store kept"];
    assert!(parts.iter().all(|part| text.contains(part)), "{text}");
    let keys = place.list(&["--prefix", "deep/"]);
    assert_eq!(keys.len(), 30);
    // Where something is already, the tour does not go.
    error_line(tour.output().unwrap());
}

#[test]
fn the_tour_of_one_file_still_kills_in_mid_load_and_leaves_nothing() {
    let place = Place::new();
    fs::create_dir_all(place.path("tree")).unwrap();
    fs::create_dir_all(place.path("temporary")).unwrap();
    let mut tour = Command::new(BINARY);
    tour.arg("tour")
        .arg("tree")
        .env("TMPDIR", place.path("temporary"))
        .current_dir(place.directory.path());
    assert!(error_line(tour.output().unwrap()).contains("no file"));
    fs::write(place.path("tree/only"), "content").unwrap();
    let output = tour.output().unwrap();
    assert_eq!(status(&output), 0, "{output:?}");
    assert_eq!(fs::read_dir(place.path("temporary")).unwrap().count(), 0);
}

#[test]
fn help_explains_the_formats() {
    let mut help = Vec::new();
    for command in ["import", "export"] {
        let mut child = piped(Command::new(BINARY).args([command, "--help"]));
        child.stdout.take().unwrap().read_to_end(&mut help).unwrap();
        assert!(child.wait().unwrap().success());
        let text = String::from_utf8_lossy(&help);
        assert!(text.contains(r"\xHH") && text.contains("key_base64"));
        help.clear();
    }
}

#[test]
fn compact_gives_space_back_and_stat_shows_it() {
    let place = Place::new();
    let store = mapstone::Options::new()
        .segment_size(1 << 16)
        .compaction(None)
        .open(&place.store)
        .expect("a new store");
    for round in 0..4u8 {
        for i in 0..400u32 {
            store.put(i.to_be_bytes(), [round; 300]).expect("space");
        }
    }
    let json = || -> Json { serde_json::from_slice(&place.ok("stat", ["--json"])).unwrap() };
    let segments = |stat: &Json| stat["log"].as_array().expect("a list").len();
    let before = json();
    assert!(segments(&before) > 7, "{before}");
    assert_eq!(before["log"][0]["live_bytes"], 0);
    assert!(place.error("compact", NONE).contains(&std::process::id().to_string()));
    let snapshot = store.snapshot().expect("a snapshot");
    let held = json();
    assert_eq!(held["snapshots"][0]["pid"], std::process::id());
    assert_eq!(held["snapshots"][0]["position"], held["committed"]);
    let text = String::from_utf8(place.ok("stat", NONE)).unwrap();
    assert!(text.contains(&format!("of process {}", std::process::id())), "{text}");
    assert!(!text.contains('░'), "{text}");
    drop(snapshot);
    store.close().expect("space");

    let text = String::from_utf8(place.ok("stat", ["--segments"])).unwrap();
    let rows = text.lines().filter(|line| line.contains("64.0 KiB")).count();
    assert_eq!(rows, segments(&before), "{text}");
    assert!(text.contains("   0 %") && text.contains("░"), "{text}");
    let report: Json = serde_json::from_slice(&place.ok("compact", ["--json"])).unwrap();
    assert!(report["freed_bytes"].as_u64() >= Some(4 << 16), "{report}");
    let after = json();
    assert!(segments(&after) + 4 <= segments(&before), "{after}");
    assert_eq!(after["entries"], 400);
    assert_eq!(String::from_utf8(place.ok("compact", NONE)).unwrap(), "0 B freed, 0 B moved\n");
    place.ok("verify", NONE);
}

#[test]
fn a_backup_is_made_beside_a_writer_and_brought_up_to_date() {
    let place = Place::new();
    let dest = place.path("backup");
    let args = |more: &[&'static str]| -> Vec<std::ffi::OsString> {
        let more = more.iter().map(|word| (*word).into());
        std::iter::once(dest.clone().into()).chain(more).collect()
    };
    let (mut writer, input) = slow_import(&place);
    let text = String::from_utf8(place.ok("backup", args(&[]))).unwrap();
    assert!(text.starts_with("position ") && text.contains("1 segment copied"), "{text}");
    drop(input);
    assert!(writer.wait().unwrap().success());
    place.ok("put", ["second", "2"]);
    let report: Json = serde_json::from_slice(&place.ok("backup", args(&["--json"]))).unwrap();
    assert_eq!(report["continued"], true, "{report}");
    assert!(report["copied_bytes"].as_u64().unwrap() < 200, "{report}");
    let text = String::from_utf8(place.ok("backup", args(&["--copy"]))).unwrap();
    assert!(text.contains("nothing new"), "{text}");

    // To restore it is to open it.
    let restored = Place { directory: tempfile::tempdir().unwrap(), store: dest.clone() };
    assert_eq!(restored.ok("get", ["first"]), b"1");
    assert_eq!(restored.json("verify")["ok"], true);
    restored.ok("put", ["third", "3"]);
    let line = place.error("backup", args(&[]));
    assert!(line.contains("written to"), "{line}");
    fs::rename(dest.join("backup"), dest.join("backup.unfinished")).unwrap();
    let line = restored.error("get", ["first"]);
    assert!(line.contains("unfinished backup; run the backup again"), "{line}");
}

/// The lines of a child's standard output, as they come.
fn lines_of(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap)
}

#[test]
fn watch_tells_of_every_change_and_goes_on_from_any() {
    let place = Place::new();
    place.ok("put", ["a", "1"]);
    place.ok("put", ["b", "x\ty", "--table", "T"]);
    let all = String::from_utf8(place.ok("watch", ["--from", "0", "--once"])).unwrap();
    let told: Vec<_> = all.lines().map(|line| line.split_once('\t').unwrap()).collect();
    let changes: Vec<_> = told.iter().map(|(_, change)| *change).collect();
    assert_eq!(changes, ["put\t\ta\t1", "create-table\tT\t\t", "put\tT\tb\tx\\ty"]);
    let rest = place.ok("watch", ["--from", told[0].0, "--once", "--prefix", "b", "--json"]);
    let line: Json = serde_json::from_slice(&rest).unwrap();
    assert_eq!(
        (&line["change"], &line["key"], &line["value"]),
        (&"put".into(), &"b".into(), &"x\ty".into())
    );
    assert_eq!((&line["table"], &line["commit"]), (&"T".into(), &told[2].0.into()));
    assert!(place.ok("watch", ["--from", "0", "--once", "--table", "none"]).is_empty());
    assert!(place.error("watch", ["--from", "99999999"]).contains("no commit of this store ends"));

    let mut live = place.command("watch").stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = lines_of(&mut live);
    let writer = Store::open(&place.store).unwrap();
    // It begins at some moment; from then on it misses nothing.
    let wait = Instant::now();
    let (tell, told) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || lines.try_for_each(|line| tell.send(line)));
    let mut number = 0;
    let first = loop {
        writer.put("n", number.to_string()).unwrap();
        number += 1;
        if let Ok(line) = told.recv_timeout(Duration::from_millis(50)) {
            break line;
        }
        assert!(wait.elapsed() < Duration::from_secs(30), "it never begins");
    };
    let value = |line: &str| line.rsplit('\t').next().unwrap().parse::<u32>().unwrap();
    let begun = value(&first);
    writer.put("n", number.to_string()).unwrap();
    for expected in begun + 1..=number {
        assert_eq!(value(&told.recv_timeout(Duration::from_secs(30)).unwrap()), expected);
    }
    live.kill().unwrap();
    live.wait().unwrap();
    drop(reader.join());
}

#[test]
fn follow_makes_a_store_equal_and_goes_on_after_a_kill() {
    let place = Place::new();
    let dest = place.path("dest");
    let copy = |args: &[&str]| {
        let output = place.run("follow", [dest.to_str().unwrap()].iter().chain(args));
        assert_eq!(status(&output), 0, "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let content = |store: &Path| {
        let mut export = Command::new(BINARY);
        let export = export.args(["export", "--format", "jsonl", "--all-tables"]).arg(store);
        sorted(export.output().unwrap().stdout)
    };
    let source = Store::open(&place.store).unwrap();
    source.put("a", "1").unwrap();
    source.table("T").unwrap().put("b", "2").unwrap();
    assert!(copy(&["--once"]).contains("compared"));
    assert_eq!(content(&place.store), content(&dest));

    // Beside a writer, and killed again and again.
    for round in 0..6u32 {
        let mut live = place.command("follow");
        let mut live = live.arg(&dest).args(["--cursor", "c"]).spawn().unwrap();
        for i in 0..300 {
            source.put(format!("{round} {i}"), [7; 300]).unwrap();
        }
        std::thread::sleep(Duration::from_millis(u64::from(round) * 15));
        live.kill().unwrap();
        live.wait().unwrap();
    }
    source.delete("a").unwrap();
    source.drop_table("T").unwrap();
    let line = copy(&["--once", "--cursor", "c"]);
    assert!(line.contains("equal at position") && !line.contains("compared"), "{line}");
    assert_eq!(content(&place.store), content(&dest));
    let output = Command::new(BINARY).arg("verify").arg(&dest).output().unwrap();
    assert_eq!(status(&output), 0, "{output:?}");

    let stat = place.json("stat");
    assert_eq!(stat["cursors"][0]["name"], "c");
    assert_eq!(stat["cursors"][0]["position"], stat["committed"]);
    assert!(String::from_utf8(place.ok("cursor", [""; 0])).unwrap().contains("c at position"));
    assert_eq!(status(&place.run("cursor", ["--remove", "c"])), 0);
    assert_eq!(status(&place.run("cursor", ["--remove", "c"])), 1);
    assert!(place.ok("cursor", ["--json"]).is_empty());

    let other = Place::new();
    other.ok("put", ["k", "v"]);
    let refused = error_line(place.run("follow", [other.store.to_str().unwrap(), "--once"]));
    assert!(refused.contains("cannot follow"), "{refused}");
}

#[test]
fn the_readme_tells_of_every_command() {
    let help = Command::new(BINARY).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names: Vec<&str> = commands
        .take_while(|line| line.starts_with("  "))
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|name| !name.is_empty() && *name != "help")
        .collect();
    assert!(names.len() > 12, "{help}");
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    for name in names {
        assert!(readme.contains(&format!("| `mapstone {name} ")), "{name}");
    }
}
