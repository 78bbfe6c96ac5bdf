//! `flowmon completions`

use super::{Exit, Failure, print};
use crate::cli;

pub(super) fn run(shell: clap_complete::Shell) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut cli::everything(), "flowmon", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}
