//! The command line `mapstone`: one command a file, all of them on the library's public API alone.
#![forbid(unsafe_code)]

mod arguments;
mod backup;
mod compact;
mod cursor;
mod del;
mod escape;
mod export;
mod follow;
mod formats;
mod get;
mod import;
mod jsonl;
mod list;
mod loader;
mod open;
mod outcome;
mod output;
mod progress;
mod put;
mod repair;
mod segments;
mod stat;
mod to_dir;
mod tour;
mod tree;
mod tsv;
mod units;
mod verify;
mod watch;

use clap::{Parser, Subcommand};
use outcome::Outcome;
use std::process::ExitCode;

/// A memory-mapped, persistent key-value store.
///
/// STORE is the store's directory. Reading commands open it read-only, beside a live writer if there is one; a store
/// whose writer was killed is recovered first.
#[derive(Parser)]
#[command(
    version,
    after_help = "Exit status: 0 done (found), 1 the key is absent, 2 error (one line on standard error), \
                  3 verify found damage, or repair losses."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Put(put::Args),
    Get(get::Args),
    Del(del::Args),
    Import(import::Args),
    Export(export::Args),
    List(list::Args),
    Stat(stat::Args),
    Verify(verify::Args),
    Compact(compact::Args),
    Backup(backup::Args),
    Repair(repair::Args),
    Watch(watch::Args),
    Follow(follow::Args),
    Cursor(cursor::Args),
    Tour(tour::Args),
    #[command(hide = true)]
    TourWriter(tour::writer::Args),
    #[command(hide = true)]
    TourReader(tour::reader::Args),
}

fn main() -> ExitCode {
    outcome::report(match Cli::parse().command {
        Command::Put(args) => put::run(&args),
        Command::Get(args) => get::run(&args),
        Command::Del(args) => del::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Export(args) => export::run(&args),
        Command::List(args) => list::run(&args),
        Command::Stat(args) => stat::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Compact(args) => compact::run(&args),
        Command::Backup(args) => backup::run(&args),
        Command::Repair(args) => repair::run(&args),
        Command::Watch(args) => watch::run(&args),
        Command::Follow(args) => follow::run(&args),
        Command::Cursor(args) => cursor::run(&args),
        Command::Tour(args) => tour::run(&args),
        Command::TourWriter(args) => tour::writer::run(&args),
        Command::TourReader(args) => tour::reader::run(&args),
    })
}
