//! `flowmon test`

mod gather;
mod markdown;
mod mutate;
mod print;

use std::path::Path;

use super::{Exit, Failure};
use crate::{
    cli::TestArgs,
    scenario::{self, Cell, Judged},
};

/// An expectation and what became of it.
struct Told {
    cell: Cell,
    judged: Judged,
}

impl Told {
    const fn is_failed(&self) -> bool {
        self.judged.failure.is_some()
    }
}

pub(super) fn run(args: &TestArgs) -> Result<Exit, Failure> {
    if args.schema {
        super::print(scenario::SCHEMA)?;
        return Ok(Exit::Done);
    }
    if !args.is_static && !args.mutate {
        let says = "the run with real traffic is not built yet: say --static to judge scenarios by \
                    the policies alone";
        return Err(Failure::new(Exit::Usage, says));
    }
    let scenarios = gather::scenarios(&args.scenarios)?;
    let mut prepared = Vec::new();
    for (file, scenario) in &scenarios {
        let file = Path::new(&**file);
        prepared.push(gather::prepare(file, scenario, args.corners())?);
    }
    let are_met = |it: &gather::Prepared| !it.cells.iter().any(Told::is_failed);
    if args.mutate && prepared.iter().all(are_met) {
        let (text, survivors) = mutate::report(&prepared, args.corners(), args.output)?;
        super::print(&text)?;
        return Ok(if survivors > 0 {
            Exit::Violations
        } else {
            Exit::Done
        });
    }
    // What is not as expected comes first: mutants of that would tell nothing.
    let results: Vec<Told> = prepared.into_iter().flat_map(|it| it.cells).collect();
    let (text, failed) = print::text(&results, scenarios.len(), args.output)?;
    super::print(&text)?;
    Ok(if failed > 0 {
        Exit::Violations
    } else {
        Exit::Done
    })
}
