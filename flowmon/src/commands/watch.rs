//! `flowmon watch`

use std::{
    io::{self, IsTerminal as _},
    os::fd::AsFd as _,
};

use futures_util::future::select_all;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Exit, Failure, reload, runtime};
use crate::{
    clock::Clock,
    kernel, pipeline,
    settings::{Output, Watch},
    sinks::{Json, Sinks, Table, Terminal, Text, Writer},
};

pub(super) fn run(settings: &Watch) -> Result<Exit, Failure> {
    if settings.pinned {
        kernel::give_up_privileges()?;
    }
    runtime()?.block_on(watch(settings))
}

/// Watches in the network namespace of this thread.
pub(super) async fn watch(settings: &Watch) -> Result<Exit, Failure> {
    let (policies, declared) = reload::begin(settings, false)?;
    let stop = Stop::new().map_err(pipeline::Error::Wait)?;
    let stdout = io::stdout()
        .as_fd()
        .try_clone_to_owned()
        .map_err(pipeline::Error::Output)?;
    let (writer, output_ended) = Writer::new(stdout);
    let (sinks, output_ended) = match settings.output {
        Output::Tui => {
            on_terminal()?;
            let (terminal, ended) = Terminal::new(Clock::new().now(), writer);
            (Sinks::default().and(terminal), ended)
        }
        Output::Json => {
            let json = Text::new(Json::new(node_name()), writer);
            (Sinks::default().and(json), output_ended)
        }
        Output::Table => {
            let table = Text::new(Table::new(&Clock::new().now()), writer);
            (Sinks::default().and(table), output_ended)
        }
    };
    let watched = Box::pin(pipeline::watch(
        settings,
        declared,
        policies,
        sinks,
        output_ended,
        stop.asked(),
    ));
    let audited = watched.await?.audited;
    let is_violated = audited.is_some_and(|audited| audited.violations > 0);
    Ok(if is_violated {
        Exit::Violations
    } else {
        Exit::Done
    })
}

fn on_terminal() -> Result<(), Failure> {
    if io::stdin().is_terminal() && io::stdout().is_terminal() {
        return Ok(());
    }
    let message = "--output tui needs a terminal for input and output; table and json do not";
    Err(Failure::new(Exit::Usage, message))
}

pub(super) fn node_name() -> Option<String> {
    nix::unistd::gethostname().ok()?.into_string().ok()
}

/// Being told to stop: Ctrl-C, SIGTERM, or the terminal going away.
pub(super) struct Stop(Vec<Signal>);

impl Stop {
    pub(super) fn new() -> io::Result<Self> {
        let mut stop = Self::of_daemon()?;
        stop.0.push(signal(SignalKind::hangup())?);
        Ok(stop)
    }

    /// To a daemon, a hangup means something else.
    pub(super) fn of_daemon() -> io::Result<Self> {
        Ok(Self(vec![
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
        ]))
    }

    pub(super) async fn asked(mut self) {
        let signals = self.0.iter_mut().map(|signal| Box::pin(signal.recv()));
        let (_signal, _, _) = select_all(signals).await;
    }
}
