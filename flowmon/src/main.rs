//! The flowmon command.

use std::process::ExitCode;

use flowmon::commands;

fn main() -> ExitCode {
    commands::run(std::env::args_os())
}
