//! `flowmon watch`

use std::{io, os::fd::AsFd as _};

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Exit, Failure, documents, runtime};
use crate::{
    clock::Clock,
    identity, pipeline,
    settings::{Output, Watch},
    sinks::{Json, Sinks, Table, Text, Writer},
};

pub(super) fn run(settings: &Watch) -> Result<Exit, Failure> {
    runtime()?.block_on(watch(settings))?;
    Ok(Exit::Done)
}

/// Watches in the network namespace of this thread.
pub(super) async fn watch(settings: &Watch) -> Result<(), Failure> {
    let declared = identity::declared(&documents::inventory(&settings.places.inventory)?);
    let stop = Stop::new().map_err(pipeline::Error::Wait)?;
    let stdout = io::stdout()
        .as_fd()
        .try_clone_to_owned()
        .map_err(pipeline::Error::Output)?;
    let (writer, output_ended) = Writer::new(stdout);
    let sinks = match settings.output {
        Output::Json => Sinks::default().and(Text::new(Json::new(node_name()), writer)),
        Output::Table => Sinks::default().and(Text::new(Table::new(&Clock::new().now()), writer)),
    };
    pipeline::watch(settings, declared, sinks, output_ended, stop.asked()).await?;
    Ok(())
}

fn node_name() -> Option<String> {
    nix::unistd::gethostname().ok()?.into_string().ok()
}

/// Being told to stop: Ctrl-C, SIGTERM, or the terminal going away.
struct Stop([Signal; 3]);

impl Stop {
    fn new() -> io::Result<Self> {
        Ok(Self([
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ]))
    }

    async fn asked(self) {
        let Self([mut interrupt, mut terminate, mut hangup]) = self;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
