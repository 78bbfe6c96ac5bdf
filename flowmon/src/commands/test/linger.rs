//! A look into a scenario's networks, before they go.

use std::process::Command;

use crate::{
    cli::LingerArgs,
    commands::{Exit, Failure, pipeline, runtime, watch::Stop},
    rehearsal::Rehearsal,
    scenario::Scenario,
    sinks::escaped,
};

/// Waits, if that was asked for.
pub(super) fn linger(
    rehearsal: &Rehearsal,
    args: &LingerArgs,
    scenario: &Scenario,
) -> Result<(), Failure> {
    if args.keep {
        keep(rehearsal)?;
    }
    if let Some(name) = &args.shell {
        shell(rehearsal, scenario, name)?;
    }
    Ok(())
}

fn keep(rehearsal: &Rehearsal) -> Result<(), Failure> {
    for (party, namespace) in rehearsal.everybody() {
        let addresses: Vec<String> = party.addresses.iter().map(ToString::to_string).collect();
        let path = namespace.path();
        tracing::info!(
            "{} ({}): nsenter --net={}",
            escaped(&party.name),
            addresses.join(", "),
            path.display()
        );
    }
    tracing::info!("all this goes with Ctrl-C");
    runtime()?.block_on(async {
        let stop = Stop::new().map_err(pipeline::Error::Wait)?;
        stop.asked().await;
        Ok(())
    })
}

fn shell(rehearsal: &Rehearsal, scenario: &Scenario, name: &str) -> Result<(), Failure> {
    let outside = scenario.outside.get(name).map(ToString::to_string);
    let everybody = rehearsal.everybody();
    let is_it = |party: &str| party == name || Some(party) == outside.as_deref();
    let found = everybody.iter().find(|(party, _)| is_it(&party.name));
    let Some((_, namespace)) = found else {
        let names = everybody.iter().map(|(party, _)| &*party.name);
        let names: Vec<&str> = names.filter(|name| !name.is_empty()).collect();
        let says = format!("{name} has no network here, but {} have", names.join(", "));
        return Err(Failure::new(Exit::Usage, escaped(&says)));
    };
    let shell = std::env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into());
    tracing::info!(
        "a shell in the network of {}; everything goes with it",
        escaped(name)
    );
    let mut child = namespace.spawn_command(&mut Command::new(&shell))?;
    child.wait().map_err(|error| {
        let says = format_args!("the shell {}: {error}", shell.display());
        Failure::new(Exit::CannotObserve, says)
    })?;
    Ok(())
}
