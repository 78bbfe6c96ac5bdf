//! The flowmon command.

use std::process::ExitCode;

use clap::Parser as _;
use flowmon::{cli::Cli, commands};

fn main() -> ExitCode {
    commands::run(Cli::parse())
}
