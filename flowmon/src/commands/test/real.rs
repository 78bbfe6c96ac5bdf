//! Scenarios with real traffic, one after the other.

use super::gather::Prepared;
use crate::{
    commands::{Exit, Failure},
    kernel::Datapath,
    policy::Connection,
    rehearsal::{Cast, Error, Rehearsal},
};

/// Plays every scenario, and notes at each expectation what was seen. The last one's networks stay as
/// long as what is returned.
pub(super) fn play(scenarios: &mut [Prepared]) -> Result<Option<Rehearsal>, Failure> {
    let played = try_to(scenarios);
    played.map_err(|error| match error {
        Error::TooMany(_) => Failure::new(Exit::Usage, error),
        Error::Lab(_) | Error::Kernel(_) | Error::Netlink(_) => {
            let says = format_args!("{error}; --static needs neither privileges nor networks");
            Failure::new(Exit::CannotObserve, says)
        }
    })
}

fn try_to(scenarios: &mut [Prepared]) -> Result<Option<Rehearsal>, Error> {
    let casts: Vec<Cast> = scenarios
        .iter()
        .map(|scenario| {
            Cast::new(
                &scenario.inventory,
                &scenario.ruleset,
                &connections(scenario),
            )
        })
        .collect();
    let entries = casts.iter().map(Cast::entries).max().unwrap_or_default();
    let mut datapath = Datapath::load(entries)?;
    let mut stage: Option<Rehearsal> = None;
    for (scenario, cast) in scenarios.iter_mut().zip(casts) {
        // Scenarios of one cast play on one stage.
        let rehearsal = match stage.take() {
            Some(rehearsal) if rehearsal.is_for(&cast) => rehearsal,
            other => {
                if let Some(other) = other {
                    other.end(&mut datapath)?;
                }
                Rehearsal::new(&mut datapath, &cast)?
            }
        };
        let connections = connections(scenario);
        let observed = rehearsal.play(&mut datapath, &cast, &scenario.ruleset, &connections)?;
        for (told, observed) in scenario.cells.iter_mut().zip(observed) {
            told.observed = Some(observed);
        }
        stage = Some(rehearsal);
    }
    Ok(stage)
}

fn connections(scenario: &Prepared) -> Vec<&Connection> {
    let cells = scenario.cells.iter();
    cells.map(|told| &told.cell.connection).collect()
}
