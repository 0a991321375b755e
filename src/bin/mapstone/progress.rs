//! The progress bar: on a terminal's standard error, nowhere else.

use indicatif::{ProgressBar, ProgressStyle};
use std::time::Duration;

/// A bar over `total` bytes, or a counter of bytes where the total is not known.
///
/// indicatif draws on standard error and draws nothing where that is not a terminal.
pub(crate) fn bytes(what: &'static str, total: Option<u64>) -> ProgressBar {
    let template = match total {
        Some(_) => "{msg} {wide_bar} {binary_bytes}/{binary_total_bytes}, {eta} left",
        None => "{msg} {spinner} {binary_bytes}, {elapsed}",
    };
    styled(total.map_or_else(ProgressBar::no_length, ProgressBar::new), template).with_message(what)
}

/// A counter of entries with a bar.
pub(crate) fn entries(what: &'static str, total: u64) -> ProgressBar {
    styled(ProgressBar::new(total), "{msg} {wide_bar} {human_pos}/{human_len}, {eta} left")
        .with_message(what)
}

/// A spinner for steps whose length is not known; the message says which step.
pub(crate) fn steps() -> ProgressBar {
    let spinner = styled(ProgressBar::new_spinner(), "{spinner} {msg}");
    spinner.enable_steady_tick(Duration::from_millis(100));
    spinner
}

fn styled(bar: ProgressBar, template: &str) -> ProgressBar {
    bar.with_style(ProgressStyle::with_template(template).expect("the templates above are valid"))
}
