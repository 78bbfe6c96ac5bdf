//! `flowmon test`

mod gather;
mod json;
mod linger;
mod markdown;
mod mutate;
mod print;
mod real;

use std::path::Path;

use super::{Exit, Failure};
use crate::{
    cli::TestArgs,
    rehearsal::Observed,
    scenario::{self, Cell, Fix, Judged},
};

/// An expectation and what became of it.
struct Told {
    cell: Cell,
    /// By the policies alone.
    judged: Judged,
    /// What would deny it, where it is allowed and should not be.
    fix: Option<Fix>,
    /// By real traffic, where that was asked for.
    observed: Option<Observed>,
}

/// What that comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark<'a> {
    /// It is as expected.
    Met,
    /// It is as expected by the policies alone: no traffic could show it, for this reason.
    Untried(&'a str),
    /// It is not as expected.
    Failed(&'a str),
    /// Traffic should have shown what it is, and did not.
    Broken(&'a str),
}

impl Told {
    fn is_failed(&self) -> bool {
        matches!(self.mark(), Mark::Failed(_) | Mark::Broken(_))
    }

    fn mark(&self) -> Mark<'_> {
        match (&self.judged.failure, &self.observed) {
            (Some(failure), _) => Mark::Failed(failure),
            (None, Some(Observed::Missed(why))) => Mark::Broken(why),
            (None, Some(Observed::Unseen(why))) => Mark::Untried(why),
            (None, Some(Observed::Seen(seen))) => match &seen.disagreement {
                Some(disagreement) => Mark::Broken(disagreement),
                None => Mark::Met,
            },
            (None, None) => Mark::Met,
        }
    }
}

pub(super) fn run(args: &TestArgs) -> Result<Exit, Failure> {
    if args.schema {
        super::print(scenario::SCHEMA)?;
        return Ok(Exit::Done);
    }
    let scenarios = gather::scenarios(&args.scenarios)?;
    if args.linger.is_asked_for() && scenarios.len() > 1 {
        let says = "--keep and --shell are for one scenario: name just that one";
        return Err(Failure::new(Exit::Usage, says));
    }
    let mut prepared = Vec::new();
    for (file, scenario) in &scenarios {
        let file = Path::new(&**file);
        prepared.push(gather::prepare(file, scenario, args.corners())?);
    }
    let are_met = |it: &gather::Prepared| it.cells.iter().all(|told| told.mark() == Mark::Met);
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
    let is_static = args.is_static || args.mutate;
    let stage = if is_static {
        None
    } else {
        real::play(&mut prepared)?
    };
    let results: Vec<Told> = prepared.into_iter().flat_map(|it| it.cells).collect();
    let (text, failed) = print::text(&results, scenarios.len(), is_static, args.output)?;
    super::print(&text)?;
    if let (Some(stage), [(_, scenario)]) = (stage, &*scenarios) {
        linger::linger(&stage, &args.linger, scenario)?;
    }
    Ok(if failed > 0 {
        Exit::Violations
    } else {
        Exit::Done
    })
}
