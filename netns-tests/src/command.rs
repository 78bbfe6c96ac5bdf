//! Commands that are run to their end in a namespace: flowmon's short ones, and the system's tools.

use std::{
    ffi::OsStr,
    process::{Command, Stdio},
};

use flowmon::lab::Namespace;

use crate::flowmon_binary;

/// What a command said, and how it ended.
#[derive(Debug)]
pub struct Finished {
    /// Exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// A command without input, whose output is kept.
pub fn command(program: impl AsRef<OsStr>, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Runs a command to its end in `namespace`.
///
/// # Panics
///
/// When it can't be started.
pub fn finish(namespace: &Namespace, command: &mut Command) -> Finished {
    let child = namespace
        .spawn_command(command)
        .unwrap_or_else(|error| panic!("starting {command:?}: {error}"));
    let output = child
        .wait_with_output()
        .unwrap_or_else(|error| panic!("waiting for {command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Finished {
        code: output.status.code(),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
    }
}

/// Runs `flowmon ARGS…` to its end in `namespace`.
///
/// # Panics
///
/// When it can't be started.
pub fn flowmon(namespace: &Namespace, args: &[&str]) -> Finished {
    finish(namespace, &mut command(flowmon_binary(), args))
}

/// Runs a tool of the system (`tc`, `bpftool`, …) in `namespace` and returns what it said.
///
/// # Panics
///
/// When it fails, with its reason.
pub fn tool(namespace: &Namespace, program: &str, args: &[&str]) -> String {
    let finished = finish(namespace, &mut command(program, args));
    assert_eq!(
        finished.code,
        Some(0),
        "{program} {args:?} says: {}",
        finished.stderr
    );
    finished.stdout
}
