//! Numbers for people: grouped digits, binary units.

/// `1234567` as `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A size in the largest binary unit that leaves at least one whole.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [(u32, &str); 4] = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    for (shift, unit) in UNITS {
        if bytes >> shift > 0 {
            return format!("{:.1} {unit}", ratio(bytes, 1 << shift));
        }
    }
    format!("{bytes} B")
}

/// `part / whole`, and zero where there is no whole.
#[expect(clippy::cast_precision_loss, reason = "a figure to look at")]
pub(crate) fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// `42s`, `7m`, `3h`, `12d`: the largest unit that leads to at least one whole.
pub(crate) fn age(seconds: u64) -> String {
    const UNITS: [(u64, char); 3] = [(86_400, 'd'), (3_600, 'h'), (60, 'm')];
    let unit = UNITS.iter().find(|(unit, _)| seconds >= *unit);
    unit.map_or(format!("{seconds}s"), |(unit, name)| format!("{}{name}", seconds / unit))
}

/// `1 file`, `2 files`.
pub(crate) fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(number), if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::{age, grouped, size};

    #[test]
    fn digits_are_grouped_by_three() {
        assert_eq!(
            ["0", "999", "1,000", "12,345,678"],
            [0, 999, 1000, 12_345_678].map(grouped).each_ref().map(|s| &s[..])
        );
    }

    #[test]
    fn ages_take_the_largest_unit() {
        assert_eq!([59, 60, 7_300, 200_000].map(age), ["59s", "1m", "2h", "2d"]);
    }

    #[test]
    fn sizes_take_the_largest_unit() {
        assert_eq!(size(1023), "1023 B");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(3 << 30), "3.0 GiB");
    }
}
