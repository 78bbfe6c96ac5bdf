//! From a log to the account: every entry, and what can't be read.

use std::{collections::BTreeMap, io, sync::Arc};

use crate::{
    audit::{Audit, End, Flow, Judgement, Seen, When},
    model::FlowEvent,
    policy::{Connection, Outcome, Verdicts, inventory::PodId},
    replay::{Endpoint, Entry, Identities, Log, Record, Remote, SummaryLine, Text},
    sinks::escaped,
};

/// Causes of loss and foreign schemas that are told apart: logs are untrusted.
const KINDS: usize = 64;
/// Lines of one log that are complained about one by one.
const COMPLAINTS: u64 = 10;

/// What was read besides flows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Told {
    /// Flow records.
    pub(super) records: u64,
    /// Lines that can't be read.
    pub(super) unreadable: u64,
    /// Lines of other schemas.
    pub(super) foreign: BTreeMap<String, u64>,
    /// What was lost when it was recorded, by cause.
    pub(super) lost: BTreeMap<String, u64>,
    /// Runs that say they are complete.
    pub(super) complete_runs: u64,
    /// Runs that say they are not.
    pub(super) incomplete_runs: u64,
    /// Logs whose last records no summary follows: nobody says whether these are complete.
    pub(super) open_runs: u64,
}

impl Told {
    /// Is it known that nothing is missing (true), or that something is (false)?
    pub(super) fn is_complete(&self) -> Option<bool> {
        let is_whole = self.unreadable == 0
            && self.incomplete_runs == 0
            && self.foreign.is_empty()
            && self.lost.values().all(|&count| count == 0);
        if !is_whole {
            return Some(false);
        }
        (self.open_runs == 0).then_some(true)
    }

    fn summary(&mut self, summary: SummaryLine) {
        if summary.complete {
            self.complete_runs += 1;
        } else {
            self.incomplete_runs += 1;
        }
        for (cause, count) in summary.lost {
            add(&mut self.lost, &cause, count);
        }
    }
}

fn add(counts: &mut BTreeMap<String, u64>, kind: &str, count: u64) {
    let kind = if counts.contains_key(kind) || counts.len() < KINDS {
        kind
    } else {
        "other"
    };
    let counted = counts.entry(kind.to_owned()).or_default();
    *counted = counted.saturating_add(count);
}

/// Takes logs, one after the other.
pub(super) struct Feed<V> {
    pub(super) audit: Audit<V>,
    pub(super) told: Told,
    identities: Identities,
    diff: bool,
}

impl<V: Fn(&Connection) -> Verdicts> Feed<V> {
    pub(super) fn new(audit: Audit<V>, diff: bool) -> Self {
        Self {
            audit,
            told: Told::default(),
            identities: Identities::new(),
            diff,
        }
    }

    /// Reads a log to its end, or until `each` does not want more. It is given every flow record with
    /// its line, the number of its judgement, and that.
    pub(super) fn read(
        &mut self,
        name: &str,
        source: impl io::Read,
        mut each: impl FnMut(&Record<'_>, &str, u32, &Judgement) -> io::Result<()>,
    ) -> Result<(), Stopped> {
        let mut log = Log::new(source);
        let mut complaints = 0;
        let mut complain = |line: u64, what: &str| {
            complaints += 1;
            if complaints <= COMPLAINTS {
                let (name, what) = (escaped(name), escaped(what));
                tracing::warn!("{name}:{line}: {what}; passed over");
            }
        };
        let mut is_open = false;
        loop {
            let line = log.line() + 1;
            let entry = log
                .next_entry()
                .map_err(|error| Stopped::Input(line, error))?;
            let Some(entry) = entry else { break };
            match entry {
                Entry::Flow(record, text) => {
                    is_open = true;
                    self.told.records += 1;
                    let number = self.flow(&record);
                    if let Some(judgement) = self.audit.judgement(number) {
                        each(&record, text, number, judgement).map_err(Stopped::Output)?;
                    }
                }
                Entry::Summary(summary) => {
                    is_open = false;
                    self.told.summary(summary);
                }
                Entry::Foreign(schema) => {
                    add(&mut self.told.foreign, &schema, 1);
                    let what = format!("of schema {}", &*schema);
                    complain(log.line(), &what);
                }
                Entry::Unreadable(what) => {
                    self.told.unreadable += 1;
                    complain(log.line(), &what);
                }
            }
        }
        self.told.open_runs += u64::from(is_open);
        if complaints > COMPLAINTS {
            let more = complaints - COMPLAINTS;
            tracing::warn!("{}: and {more} more lines passed over", escaped(name));
        }
        Ok(())
    }

    fn flow(&mut self, record: &Record<'_>) -> u32 {
        let identity = self.identities.of(record);
        let seen = Seen {
            flow: identity.flow,
            connection: identity.connection,
            totals: record.totals(),
            ended: record.event == FlowEvent::End,
            before: if self.diff {
                outcome_before(record)
            } else {
                None
            },
        };
        self.audit.note(&seen, || flow(record), || when(record))
    }
}

/// Why reading stopped before the end.
#[derive(Debug)]
pub(super) enum Stopped {
    /// The log can't be read on, from this line.
    Input(u64, io::Error),
    /// The output can't be written.
    Output(io::Error),
}

/// What the recorded verdict came to, where there is one that can be read.
fn outcome_before(record: &Record<'_>) -> Option<Outcome> {
    #[derive(serde::Deserialize)]
    struct Recorded {
        outcome: Outcome,
    }

    let recorded: Option<Recorded> = serde_json::from_str(record.verdict?.get()).ok()?;
    recorded.map(|recorded| recorded.outcome)
}

/// When its packets were, as far as the record says in a form that can be read.
fn when(record: &Record<'_>) -> Option<When> {
    let time = |text: &Option<Text<'_>>| text.as_ref().unwrap_or(&record.time).parse().ok();
    Some(When {
        first: time(&record.first_seen)?,
        last: time(&record.last_seen)?,
    })
}

fn flow(record: &Record<'_>) -> Flow {
    let Record {
        endpoint,
        local,
        remote,
        ..
    } = record;
    Flow {
        direction: record.direction,
        protocol: record.protocol,
        icmp: record.icmp,
        at_host: endpoint.kind.as_deref() == Some("host"),
        local: local.ip.map(|address| End {
            address: address.to_canonical(),
            port: local.port,
            pod: endpoint.pod(),
            name: endpoint.other_name(),
        }),
        remote: remote.ip.map(|address| End {
            address: address.to_canonical(),
            port: remote.port,
            pod: remote.pod(),
            name: remote.other_name(),
        }),
    }
}

/// What a record says of who is behind an end.
trait Said {
    /// Kind, namespace and name.
    fn said(&self) -> (Option<&str>, Option<&str>, Option<&str>);

    /// The pod that it names.
    fn pod(&self) -> Option<PodId> {
        match self.said() {
            (None | Some("pod"), Some(namespace), Some(name)) => Some(PodId {
                namespace: namespace.into(),
                name: name.into(),
            }),
            _ => None,
        }
    }

    /// What it names that is neither a pod nor known by its address, as services and nodes are.
    fn other_name(&self) -> Option<Arc<str>> {
        match self.said() {
            (Some("container" | "netns"), _, Some(name)) => Some(name.into()),
            _ => None,
        }
    }
}

impl Said for Endpoint<'_> {
    fn said(&self) -> (Option<&str>, Option<&str>, Option<&str>) {
        (
            self.kind.as_deref(),
            self.namespace.as_deref(),
            self.name.as_deref(),
        )
    }
}

impl Said for Remote<'_> {
    fn said(&self) -> (Option<&str>, Option<&str>, Option<&str>) {
        (
            self.kind.as_deref(),
            self.namespace.as_deref(),
            self.name.as_deref(),
        )
    }
}
