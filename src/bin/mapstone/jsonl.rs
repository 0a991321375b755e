//! One line of JSON Lines: text where the bytes are UTF-8, base64 where they are not.

use anyhow::{Context, Result, anyhow, bail};
use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde::{Deserialize, Serialize};
use std::{
    borrow::Cow,
    io::{self, Write},
};

// Written with padding, read with or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The object of a line. Unknown fields are refused: they would be lost in silence.
#[derive(Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(crate) struct Line<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) table: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
}

/// An entry as read: its table if the line names one, its key, its value.
pub(crate) type Entry = (Option<String>, Vec<u8>, Vec<u8>);

impl<'a> Line<'a> {
    pub(crate) fn of_key(key: &'a [u8]) -> Self {
        let (key, key_base64) = encode(key);
        Self { key, key_base64, ..Self::default() }
    }

    pub(crate) fn of_entry(table: Option<&'a str>, key: &'a [u8], value: &'a [u8]) -> Self {
        let (value, value_base64) = encode(value);
        Self { table: table.map(Cow::Borrowed), value, value_base64, ..Self::of_key(key) }
    }

    /// Of a change that may have no key, or no value.
    pub(crate) fn of_change(
        table: Option<&'a str>,
        key: Option<&'a [u8]>,
        value: Option<&'a [u8]>,
    ) -> Self {
        let (key, key_base64) = key.map_or((None, None), encode);
        let (value, value_base64) = value.map_or((None, None), encode);
        Self { table: table.map(Cow::Borrowed), key, key_base64, value, value_base64 }
    }
}

fn encode(bytes: &[u8]) -> (Option<Cow<'_, str>>, Option<String>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (Some(Cow::Borrowed(text)), None),
        Err(_) => (None, Some(BASE64.encode(bytes))),
    }
}

/// Writes any object as a line.
pub(crate) fn write(out: &mut impl Write, object: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, object)?;
    out.write_all(b"\n")
}

/// The entry of a line; `None` for a blank one.
pub(crate) fn parse(line: &[u8]) -> Result<Option<Entry>> {
    if line.trim_ascii().is_empty() {
        return Ok(None);
    }
    let line: Line<'_> = serde_json::from_slice(line).map_err(without_line)?;
    let key = decode("key", line.key, line.key_base64)?;
    let value = decode("value", line.value, line.value_base64)?;
    Ok(Some((line.table.map(Cow::into_owned), key, value)))
}

fn decode(name: &str, text: Option<Cow<'_, str>>, base64: Option<String>) -> Result<Vec<u8>> {
    match (text, base64) {
        (Some(text), None) => Ok(text.into_owned().into_bytes()),
        (None, Some(base64)) => BASE64.decode(base64).with_context(|| format!("{name}_base64")),
        (None, None) => bail!("neither {name} nor {name}_base64"),
        (Some(_), Some(_)) => bail!("both {name} and {name}_base64"),
    }
}

/// serde_json counts lines within the one line it is given; only its column says something.
fn without_line(error: serde_json::Error) -> anyhow::Error {
    let text = error.to_string();
    let suffix = format!(" at line {} column {}", error.line(), error.column());
    anyhow!("column {}: {}", error.column(), text.strip_suffix(&suffix).unwrap_or(&text))
}

#[cfg(test)]
mod tests {
    use super::{Line, parse, write};

    fn text(table: Option<&str>, key: &[u8], value: &[u8]) -> String {
        let mut text = Vec::new();
        write(&mut text, &Line::of_entry(table, key, value)).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn an_entry_round_trips() {
        assert_eq!(text(None, b"a", b"\"\n"), "{\"key\":\"a\",\"value\":\"\\\"\\n\"}\n");
        assert_eq!(
            text(Some("t"), b"\xff", b"\xfe"),
            "{\"table\":\"t\",\"key_base64\":\"/w==\",\"value_base64\":\"/g==\"}\n"
        );
        for (table, key, value) in [(None, &b""[..], &b"\0"[..]), (Some("t"), b"\xff", b"\xc3")] {
            let entry = parse(text(table, key, value).as_bytes()).unwrap().unwrap();
            assert_eq!(entry, (table.map(str::to_owned), key.to_vec(), value.to_vec()));
        }
    }

    #[test]
    fn wrong_lines_say_why() {
        for (line, reason) in [
            (r#"{"key":"a"}"#, "neither value nor value_base64"),
            (r#"{"key":"a","key_base64":"","value":""}"#, "both key and key_base64"),
            (r#"{"key":"a","value":1}"#, "column 20: invalid type: integer `1`, expected a string"),
            (r#"{"key":"a","value":"","when":3}"#, "unknown field `when`"),
            ("[1]", "column"),
        ] {
            let error = parse(line.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(reason), "{line}: {error}");
        }
        assert!(parse(b" \r").unwrap().is_none());
        assert_eq!(parse(br#"{"key_base64":"/w","value":""}"#).unwrap().unwrap().1, b"\xff");
    }
}
