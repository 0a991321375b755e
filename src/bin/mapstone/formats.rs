//! The text formats of `import` and `export`, and what `--help` says about them.

/// A text format.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Format {
    /// key TAB value, one entry a line, with backslash escapes
    Tsv,
    /// One JSON object a line
    Jsonl,
}

/// Both formats carry any bytes, so that an export can be imported again unchanged.
pub(crate) const HELP: &str = r#"Formats:
  tsv    One entry a line: key TAB value LF. UTF-8 stands for itself, except \t \n \r \\ (tab, newline, carriage
         return, backslash); \xHH is one byte, used for control characters and whatever is not UTF-8. The first TAB
         ends the key; an empty line is skipped; CR LF ends a line as LF does.
  jsonl  One JSON object a line: {"key":"a","value":"b"}; where the bytes are not UTF-8, key_base64 and value_base64
         (standard alphabet) take their place. An optional "table" names the entry's table.
  tree   A directory: each regular file is an entry, its relative path the key, its bytes the value. Symbolic links,
         special files and empty directories are left out."#;
