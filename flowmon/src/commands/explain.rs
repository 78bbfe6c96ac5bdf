//! `flowmon explain`

use super::{Exit, Failure, documents, print};
use crate::{
    cli::{ExplainArgs, TextOutput},
    policy::{Outcome, Ruleset, connection},
    sinks::escaped,
};

pub(super) fn run(args: &ExplainArgs) -> Result<Exit, Failure> {
    let judging = args.judging.settings();
    let policies = documents::policies(&judging.policies)?;
    let inventory = documents::inventory(&judging.inventory)?;
    let connection = connection(&inventory, &args.from, &args.to, args.port)
        .map_err(|message| Failure::new(Exit::Usage, escaped(&message)))?;
    let ruleset = Ruleset::compile(&policies, &inventory, judging.corners);
    let explanation = ruleset.explain(&connection);
    let text = match args.output {
        TextOutput::Json => {
            let json = serde_json::to_string(&explanation);
            json.map_err(|error| Failure::new(Exit::Usage, error))? + "\n"
        }
        TextOutput::Text => {
            let text = explanation.to_string();
            let lines: Vec<_> = text.lines().map(escaped).collect();
            lines.join("\n") + "\n"
        }
    };
    print(&text)?;
    Ok(match explanation.outcome {
        Outcome::Allowed => Exit::Done,
        Outcome::Denied => Exit::Violations,
        Outcome::Undecided => Exit::Incomplete,
    })
}
