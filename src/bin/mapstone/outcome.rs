//! How a command ends: the exit status, and the one line that an error gets.

use crate::output;
use std::{io::Write, process::ExitCode};

/// The ends of a command that are not errors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// Everything asked for was done.
    Done,
    /// The key is not there.
    Absent,
    /// `verify` found damage, or `repair` what is lost.
    Damaged,
}

/// Prints the error, if any, and gives the exit status.
pub(crate) fn report(result: anyhow::Result<Outcome>) -> ExitCode {
    match result {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Absent) => ExitCode::from(1),
        Ok(Outcome::Damaged) => ExitCode::from(3),
        // Whoever closed the pipe has what they wanted.
        Err(error) if output::is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // A closed standard error leaves nobody to tell; `eprintln!` would panic.
            let _ = writeln!(std::io::stderr(), "mapstone: {}", one_line(&error));
            ExitCode::from(2)
        }
    }
}

/// The error and its causes on one line, each text once: some errors already quote their cause.
pub(crate) fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if line.is_empty() {
            line = cause;
        } else if !line.contains(&cause) {
            line = format!("{line}: {cause}");
        }
    }
    line.replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::one_line;
    use anyhow::anyhow;

    #[test]
    fn causes_follow_once_on_one_line() {
        let quoted = anyhow!("disk\nfull").context("write a: disk\nfull").context("import");
        assert_eq!(one_line(&quoted), "import: write a: disk full");
    }
}
