//! One line of TSV: `key TAB value`, with the escapes of [`crate::escape`].

use crate::escape::{escape_into, unescape};
use anyhow::{Context, Result};
use std::io::{self, Write};

/// Writes one entry as a line.
pub(crate) fn write(
    out: &mut impl Write,
    line: &mut Vec<u8>,
    key: &[u8],
    value: &[u8],
) -> io::Result<()> {
    line.clear();
    escape_into(key, line);
    line.push(b'\t');
    escape_into(value, line);
    line.push(b'\n');
    out.write_all(line)
}

/// The key and value of a line that has lost its line feed; `None` for an empty line.
pub(crate) fn parse(line: &[u8]) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
    // The escapes keep a carriage return of the data out of the text, so one here belongs to the line's end.
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.is_empty() {
        return Ok(None);
    }
    let tab =
        line.iter().position(|&byte| byte == b'\t').context("no tab between key and value")?;
    let key = unescape(&line[..tab]).context("the key")?;
    let value = unescape(&line[tab + 1..]).context("the value")?;
    Ok(Some((key, value)))
}

#[cfg(test)]
mod tests {
    use super::{parse, write};

    #[test]
    fn an_entry_round_trips() {
        for (key, value) in [(&b""[..], &b""[..]), (b"a\tb", b"\r\n"), (b"\xff\\", b"x\r")] {
            let mut text = Vec::new();
            write(&mut text, &mut Vec::new(), key, value).unwrap();
            let line = text.strip_suffix(b"\n").unwrap();
            assert_eq!(parse(line).unwrap().unwrap(), (key.to_vec(), value.to_vec()));
        }
    }

    #[test]
    fn foreign_lines() {
        assert_eq!(parse(b"k\tv\r").unwrap().unwrap(), (b"k".to_vec(), b"v".to_vec()));
        assert!(parse(b"").unwrap().is_none());
        assert!(parse(b"no tab").is_err());
    }
}
