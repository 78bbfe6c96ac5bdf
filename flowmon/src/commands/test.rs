//! `flowmon test`

mod gather;
mod print;

use std::path::Path;

use super::{Exit, Failure};
use crate::{
    cli::TestArgs,
    scenario::{Cell, Judged},
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
    if !args.is_static {
        let says = "the run with real traffic is not built yet: say --static to judge scenarios by \
                    the policies alone";
        return Err(Failure::new(Exit::Usage, says));
    }
    let mut results = Vec::new();
    let scenarios = gather::scenarios(&args.scenarios)?;
    for (file, scenario) in &scenarios {
        results.extend(gather::prepare(Path::new(&**file), scenario, args.corners())?.cells);
    }
    let (text, failed) = print::text(&results, scenarios.len(), args.output)?;
    super::print(&text)?;
    Ok(if failed > 0 {
        Exit::Violations
    } else {
        Exit::Done
    })
}
