//! One file per command: from settings to exit code.

mod audit;
mod check;
mod cleanup;
mod completions;
mod demo;
mod doctor;
mod documents;
mod explain;
mod files;
mod interfaces;
mod logs;
mod man;
mod reload;
mod run;
mod suggest;
mod test;
mod watch;

use std::{ffi::OsString, fmt, process::ExitCode};

use crate::{
    cli::{Cli, Command},
    clock::Clock,
    diagnostics::Diagnostics,
    kernel, netlink, pipeline,
};

/// Exit codes: a promise to scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done, nothing found.
    Done = 0,
    /// Violations were found.
    Violations = 1,
    /// Wrong usage or input, or output that can't be written.
    Usage = 2,
    /// Something is missing that could hide a violation, and the caller asked to know.
    Incomplete = 3,
    /// Can't observe here: privileges or kernel.
    CannotObserve = 4,
}

/// Why a command failed, and with which code.
#[derive(Debug)]
struct Failure {
    exit: Exit,
    message: String,
}

impl Failure {
    fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self {
            exit,
            message: message.to_string(),
        }
    }
}

impl From<kernel::Error> for Failure {
    fn from(error: kernel::Error) -> Self {
        Self::new(Exit::CannotObserve, error)
    }
}

impl From<netlink::Error> for Failure {
    fn from(error: netlink::Error) -> Self {
        Self::new(Exit::CannotObserve, error)
    }
}

impl From<pipeline::Error> for Failure {
    fn from(error: pipeline::Error) -> Self {
        let exit = match error {
            pipeline::Error::NoSuchInterface { .. } | pipeline::Error::Output(_) => Exit::Usage,
            pipeline::Error::Kernel(_) | pipeline::Error::Netlink(_) | pipeline::Error::Wait(_) => {
                Exit::CannotObserve
            }
        };
        Self::new(exit, error)
    }
}

/// Does what was typed.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let read = Cli::read(args, files::one);
    let cli = match &read {
        Ok(cli) => cli,
        Err(refused) => &refused.typed,
    };
    let (format, wanted) = cli.diagnostics();
    let diagnostics = Diagnostics::begin(format, wanted, || Clock::new().now());
    let result = match read {
        Ok(cli) => command(cli.command),
        Err(refused) => documents::tell(&refused.problems, "configuration").map(|()| Exit::Usage),
    };
    let exit = result.unwrap_or_else(|failure| {
        tracing::error!("{}", failure.message);
        failure.exit
    });
    diagnostics.end();
    ExitCode::from(exit as u8)
}

fn command(command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Watch(args) => watch::run(&args.settings()),
        Command::Run(args) if args.check_config => run::check(args),
        Command::Run(args) => run::run(&args.settings()),
        Command::Check(args) => check::run(&args),
        Command::Audit(args) => audit::run(&args.settings()),
        Command::Explain(args) => explain::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Suggest(args) => suggest::run(&args.settings()),
        Command::Interfaces { output, places } => interfaces::run(output, &places.settings()),
        Command::Completions { shell } => completions::run(shell),
        Command::Man { command, into } => man::run(command.as_deref(), into.as_deref()),
        Command::Cleanup => cleanup::run(),
        Command::Doctor { places } => doctor::run(&places.settings()),
        Command::Demo(args) => demo::run(args),
    }
}

/// A runtime for one thread: the pipeline is one task, and network namespaces belong to threads.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::CannotObserve, format_args!("starting: {error}")))
}

/// Writes to stdout what a command has to say. A reader that went away is no error.
fn print(text: &str) -> Result<(), Failure> {
    use std::io::{ErrorKind, Write as _};
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::new(
            Exit::Usage,
            format_args!("cannot write the output: {error}"),
        )),
        _ => Ok(()),
    }
}
