//! The house keeps its order: a layer names only those below it, and unsafe code stays under src/sys.
//!
//! Reads the sources as text. Comments and strings do not count, nor do the test modules at the end of a file.

use std::fs;
use std::path::{Path, PathBuf};

/// From the ground up. What is listed together is one layer.
const LAYERS: &[&[&str]] = &[
    &["error", "faults"],
    &["sys"],
    &["format"],
    &["cells", "chunks"],
    &["usage"],
    &["log"],
    &["index"],
    &["options"],
    &["store"],
    &[
        "atomic",
        "backup",
        "batch",
        "changes",
        "cursor",
        "follow",
        "handle",
        "keyspace",
        "optimistic",
        "pending",
        "repair",
        "savepoint",
        "snapshot",
        "table",
        "transaction",
        "value",
        "lib",
    ],
    &["bin"],
];

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

struct Source {
    /// Relative to src: `log/scan.rs`.
    path: PathBuf,
    /// The module and those it is in: `["log", "scan"]`.
    module: Vec<String>,
    code: String,
}

fn sources() -> Vec<Source> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Vec::new();
    let mut dirs = vec![src.clone()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).expect("a folder of the sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a source file");
                let path = path.strip_prefix(&src).expect("below src").to_path_buf();
                let mut module: Vec<String> = path
                    .with_extension("")
                    .iter()
                    .map(|part| part.to_str().expect("a plain name").to_owned())
                    .collect();
                if module.last().is_some_and(|last| last == "mod" || last == "main") {
                    module.pop();
                }
                sources.push(Source { path, module, code: code_of(&text) });
            }
        }
    }
    assert!(sources.len() > 50, "the sources have been found");
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}

/// The text without comments, strings, characters and what follows the first test module.
fn code_of(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let skip = match c {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '"' => string_len(rest),
            // A lifetime is no character.
            '\'' if rest[1..].starts_with('\\') => 2 + rest[3..].find('\'').map_or(0, |at| at + 2),
            '\'' if rest.chars().nth(2) == Some('\'') => {
                rest.char_indices().nth(3).map_or(rest.len(), |(at, _)| at)
            }
            _ => 0,
        };
        if skip == 0 {
            code.push(c);
            rest = &rest[c.len_utf8()..];
        } else {
            code.push(' ');
            rest = &rest[skip..];
        }
    }
    code
}

/// Bytes of the string literal at the start of `text`, quotes included.
fn string_len(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The modules at the crate's root that a source names by `crate::` or by enough `super::`.
fn named(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in source.code.match_indices("crate::") {
        found.extend(words(&source.code[at + "crate::".len()..]));
    }
    let up = "super::".repeat(source.module.len());
    for (at, _) in source.code.match_indices(&up) {
        let before = source.code[..at].ends_with("super::");
        assert!(!before, "{}: a path above the crate's root", source.path.display());
        found.extend(words(&source.code[at + up.len()..]));
    }
    found
}

/// The first names of a path: one, or those of a list in braces.
fn words(path: &str) -> Vec<String> {
    let name = |text: &str| -> String {
        text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    if !path.starts_with('{') {
        return vec![name(path)];
    }
    let (mut names, mut depth) = (Vec::new(), 0);
    for (at, c) in path.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
        if depth == 1 && (c == '{' || c == ',') {
            names.push(name(&path[at + 1..]));
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

#[test]
fn no_layer_names_one_above_it() {
    let mut upward = Vec::new();
    let mut downward = 0;
    for source in sources() {
        let top = source.module[0].as_str();
        if top == "bin" {
            continue;
        }
        let from = layer(top).unwrap_or_else(|| panic!("src/{top} belongs to no layer"));
        for name in named(&source) {
            let to = layer(&name).unwrap_or_else(|| {
                panic!("{} names crate::{name}, which belongs to no layer", source.path.display())
            });
            match to.cmp(&from) {
                std::cmp::Ordering::Less => downward += 1,
                std::cmp::Ordering::Equal => {}
                std::cmp::Ordering::Greater => {
                    upward.push(format!("src/{}: crate::{name}", source.path.display()));
                }
            }
        }
    }
    assert!(downward > 100, "only {downward} imports were found");
    assert!(upward.is_empty(), "upward imports:\n{}", upward.join("\n"));
}

#[test]
fn only_sys_is_unsafe() {
    let mut outside = Vec::new();
    let mut inside = 0;
    for source in sources() {
        let uses = source
            .code
            .match_indices("unsafe")
            .filter(|(at, word)| !source.code[at + word.len()..].starts_with('_'))
            .count();
        if source.module[0] == "sys" {
            inside += uses;
        } else if uses > 0 {
            outside.push(format!("src/{}", source.path.display()));
        }
    }
    assert!(inside > 10, "only {inside} uses of unsafe were found in src/sys");
    assert!(outside.is_empty(), "unsafe outside src/sys:\n{}", outside.join("\n"));
}

#[test]
fn every_module_but_sys_forbids_unsafe_code() {
    let sources = sources();
    let of = |path: &str| {
        let found = sources.iter().find(|source| source.path == Path::new(path));
        &found.unwrap_or_else(|| panic!("src/{path}")).code
    };
    let mut modules = 0;
    let mut before = "";
    for line in of("lib.rs").lines() {
        if let Some(module) = line.strip_prefix("mod ").and_then(|rest| rest.strip_suffix(';')) {
            modules += 1;
            assert_eq!(
                before == "#[forbid(unsafe_code)]",
                module != "sys",
                "the fence before `mod {module};`, after the line {before:?}"
            );
        }
        before = line;
    }
    assert!(modules > 10, "only {modules} modules were found");
    assert!(of("bin/mapstone/main.rs").contains("#![forbid(unsafe_code)]"));
}

#[test]
fn the_reader_of_sources_sees_code_and_nothing_else() {
    let text =
        "a // crate::b\n\"crate::\\\" c\" 'x' '\\'' '\"' &'d e \"\"\n#[cfg(test)]\nmod tests { f }";
    let code = code_of(text);
    assert_eq!(code.split_whitespace().collect::<String>(), "a&'de");
    assert_eq!(words("{error::{A, B}, sys, format::page}; x"), ["error", "sys", "format"]);
    assert_eq!(words("log::Scan;"), ["log"]);
}
