//! Bytes as one line of text and back, by backslash escapes: what TSV files and `list` print.

use anyhow::{Result, bail};
use std::io::Write;

/// Appends `bytes` to `text`: UTF-8 as it is, except that backslash, tab, newline and carriage return become `\\`,
/// `\t`, `\n`, `\r`, and control characters and bytes that are not UTF-8 become `\xHH`.
pub(crate) fn escape_into(bytes: &[u8], text: &mut Vec<u8>) {
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            let mut utf8 = [0; 4];
            let utf8 = character.encode_utf8(&mut utf8).as_bytes();
            match character {
                '\\' => text.extend(b"\\\\"),
                '\t' => text.extend(b"\\t"),
                '\n' => text.extend(b"\\n"),
                '\r' => text.extend(b"\\r"),
                // A control character could steer the terminal that shows it.
                _ if character.is_control() => hex_into(utf8, text),
                _ => text.extend(utf8),
            }
        }
        hex_into(chunk.invalid(), text);
    }
}

fn hex_into(bytes: &[u8], text: &mut Vec<u8>) {
    for byte in bytes {
        write!(text, "\\x{byte:02x}").expect("a Vec takes every write");
    }
}

/// `bytes` as escaped text, for messages.
pub(crate) fn escaped(bytes: &[u8]) -> String {
    let mut text = Vec::new();
    escape_into(bytes, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// The bytes that `text` stands for.
pub(crate) fn unescape(text: &[u8]) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.iter().position(|&byte| byte == b'\\') {
        bytes.extend(&rest[..at]);
        let (byte, length) = match &rest[at + 1..] {
            [b'\\', ..] => (b'\\', 2),
            [b't', ..] => (b'\t', 2),
            [b'n', ..] => (b'\n', 2),
            [b'r', ..] => (b'\r', 2),
            [b'x', high, low, ..] => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, 4),
                _ => bail!("\\x is not followed by two hexadecimal digits"),
            },
            [b'x', ..] => bail!("\\x is not followed by two hexadecimal digits"),
            [other, ..] => bail!("unknown escape \\{}", escaped(&[*other])),
            [] => bail!("a backslash ends the field"),
        };
        bytes.push(byte);
        rest = &rest[at + length..];
    }
    bytes.extend(rest);
    Ok(bytes)
}

fn digit(text: u8) -> Option<u8> {
    match text {
        b'0'..=b'9' => Some(text - b'0'),
        b'a'..=b'f' => Some(text - b'a' + 10),
        b'A'..=b'F' => Some(text - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{escape_into, escaped, unescape};

    #[test]
    fn every_byte_pair_round_trips_on_one_line() {
        for first in 0..=255_u8 {
            for second in 0..=255_u8 {
                let mut text = Vec::new();
                escape_into(&[first, second], &mut text);
                assert!(!text.iter().any(|byte| byte.is_ascii_control()));
                assert_eq!(unescape(&text).unwrap(), [first, second]);
            }
        }
    }

    #[test]
    fn text_stays_readable() {
        assert_eq!(escaped("größe\ta\\b".as_bytes()), "größe\\ta\\\\b");
        assert_eq!(escaped(b"\xff\0"), "\\xff\\x00");
    }

    #[test]
    fn a_wrong_escape_is_an_error() {
        for text in ["\\q", "\\", "\\x1", "\\xzz", "\\x"] {
            assert!(unescape(text.as_bytes()).is_err(), "{text}");
        }
    }
}
