//! `flowmon audit`

mod cases;
mod feed;
mod json;
mod places;
mod table;
mod why;

use std::io::{self, BufWriter, ErrorKind, Write};

use super::{
    Exit, Failure, documents,
    logs::{self, Source, Stopped, Told},
};
use crate::{
    audit::{Audit, End, Findings, Flow, Group, Who},
    policy::{Connection, Inventory, PolicySet, Ruleset},
    settings::{self, FailOn},
};
use feed::Feed;
use json::Records;

/// What was found, and what it takes to tell it.
struct Report<'a> {
    findings: Findings,
    told: Told,
    policies: &'a PolicySet,
    ruleset: &'a Ruleset,
    who: &'a Who,
}

pub(super) fn run(settings: &settings::Audit) -> Result<Exit, Failure> {
    let sources = logs::open(&settings.flows)?;
    let policies = documents::policies(&settings.judging.policies)?;
    let inventory = documents::inventory(&settings.judging.inventory)?;
    let out = io::stdout().lock();
    replay(settings, sources, &policies, &inventory, out)
}

fn replay(
    settings: &settings::Audit,
    sources: Vec<Source>,
    policies: &PolicySet,
    inventory: &Inventory,
    out: impl Write,
) -> Result<Exit, Failure> {
    let ruleset = Ruleset::compile(policies, inventory, settings.judging.corners);
    let judge = |connection: &Connection| ruleset.judge(connection);
    let audit = Audit::new(judge, Who::new(inventory), settings.diff);
    let mut feed = Feed::new(audit, settings.diff);
    let mut out = BufWriter::with_capacity(1 << 16, out);
    let mut records = Records::default();
    let mut result = Ok(());
    for (name, source) in sources {
        let read = feed.read(&name, source, |record, line, number, judgement| {
            if settings.output == settings::Findings::Json {
                records.write(&mut out, record, line, number, judgement)?;
            }
            Ok(())
        });
        match read {
            Ok(()) => {}
            Err(Stopped::Output(error)) => {
                result = Err(error);
                break;
            }
            Err(Stopped::Input(line, error)) => return Err(logs::unread(&name, line, &error)),
        }
    }
    let report = Report {
        findings: Findings::new(feed.audit.account()),
        told: feed.told,
        policies,
        ruleset: &ruleset,
        who: feed.audit.who(),
    };
    let result = result
        .and_then(|()| match settings.output {
            settings::Findings::Json => json::summary(&mut out, &report),
            settings::Findings::Table => out.write_all(table::table(&report).as_bytes()),
            settings::Findings::Sarif => out.write_all(places::findings(&report).json().as_bytes()),
            settings::Findings::Junit => {
                let suite = cases::suite(&report, settings.fail_on);
                out.write_all(suite.xml().as_bytes())
            }
        })
        .and_then(|()| out.flush());
    match result {
        Ok(()) => Ok(report.exit(settings.fail_on, false)),
        // A reader that went away is no error, but what was not read is not known.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {
            Ok(report.exit(settings.fail_on, true))
        }
        Err(error) => Err(Failure::new(
            Exit::Usage,
            format_args!("cannot write the output: {error}"),
        )),
    }
}

impl Report<'_> {
    fn exit(&self, fail_on: FailOn, is_cut_short: bool) -> Exit {
        let is_violated = !self.findings.violations().is_empty();
        match fail_on {
            FailOn::Denied | FailOn::Undecided if is_violated => Exit::Violations,
            FailOn::Undecided if is_cut_short || self.could_hide() => Exit::Incomplete,
            FailOn::Denied | FailOn::Undecided | FailOn::Never => Exit::Done,
        }
    }

    /// Could there be a violation that nobody sees?
    fn could_hide(&self) -> bool {
        self.findings.counts.undecided > 0 || self.told.is_complete() == Some(false)
    }

    /// Why the flows of a group got their verdict.
    fn why(&self, group: &Group) -> String {
        why::why(self.ruleset, group)
    }

    /// A flow in a few words.
    fn flow(&self, flow: &Flow) -> String {
        let party = |end: &Option<End>| {
            let end = end.as_ref();
            end.map_or_else(|| "?".to_owned(), |end| self.who.is(end).to_string())
        };
        let port = flow.asked_port();
        let port = port.map_or_else(String::new, |port| format!("/{port}"));
        format!(
            "{} {} {} {}{port}",
            party(&flow.local),
            table::arrow(flow.direction),
            party(&flow.remote),
            flow.protocol
        )
    }
}
