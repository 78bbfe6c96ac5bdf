//! Logs of flows: every entry, and what can't be read.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    os::unix::fs::FileTypeExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{Exit, Failure};
use crate::{
    audit::{self, End, Flow, When},
    model::Direction,
    policy::{Reason, inventory::PodId},
    replay::{Endpoint, Entry, Log, Record, Remote, SummaryLine, Text},
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

    /// Reads a log to its end, or until `each` does not want more. It is given every flow record with
    /// its line.
    pub(super) fn read(
        &mut self,
        name: &str,
        source: impl Read,
        mut each: impl FnMut(&Record<'_>, &str) -> io::Result<()>,
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
                    self.records += 1;
                    each(&record, text).map_err(Stopped::Output)?;
                }
                Entry::Summary(summary) => {
                    is_open = false;
                    self.summary(summary);
                }
                Entry::Foreign(schema) => {
                    add(&mut self.foreign, &schema, 1);
                    let what = format!("of schema {}", &*schema);
                    complain(log.line(), &what);
                }
                Entry::Unreadable(what) => {
                    self.unreadable += 1;
                    complain(log.line(), &what);
                }
            }
        }
        self.open_runs += u64::from(is_open);
        if complaints > COMPLAINTS {
            let more = complaints - COMPLAINTS;
            tracing::warn!("{}: and {more} more lines passed over", escaped(name));
        }
        Ok(())
    }
}

/// A log by its name.
pub(super) type Source = (String, Box<dyn Read>);

/// Opens all logs before anything is read: a mistyped name must not cost an hour.
pub(super) fn open(paths: &[PathBuf]) -> Result<Vec<Source>, Failure> {
    paths.iter().map(|path| source(path)).collect()
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

fn source(path: &Path) -> Result<Source, Failure> {
    if path == Path::new("-") {
        return Ok(("standard input".to_owned(), Box::new(io::stdin().lock())));
    }
    let name = path.display().to_string();
    let failed = |error: &dyn std::fmt::Display| {
        Failure::new(Exit::Usage, format_args!("{}: {error}", escaped(&name)))
    };
    let file = File::open(path).map_err(|error| failed(&error))?;
    let kind = file.metadata().map_err(|error| failed(&error))?.file_type();
    if kind.is_dir() {
        return Err(failed(&"is a folder; name the logs in it"));
    }
    if kind.is_block_device() {
        return Err(failed(&"is a disk, not a flow log"));
    }
    Ok((name, Box::new(file)))
}
/// Why reading stopped before the end.
#[derive(Debug)]
pub(super) enum Stopped {
    /// The log can't be read on, from this line.
    Input(u64, io::Error),
    /// The output can't be written.
    Output(io::Error),
}

/// A log that can't be read on.
pub(super) fn unread(name: &str, line: u64, error: &io::Error) -> Failure {
    let name = escaped(name);
    Failure::new(Exit::Usage, format_args!("{name}:{line}: {error}"))
}

/// When its packets were, as far as the record says in a form that can be read.
pub(super) fn when(record: &Record<'_>) -> Option<When> {
    let time = |text: &Option<Text<'_>>| text.as_ref().unwrap_or(&record.time).parse().ok();
    Some(When {
        first: time(&record.first_seen)?,
        last: time(&record.last_seen)?,
    })
}

/// As policies look at it.
pub(super) fn flow(record: &Record<'_>) -> Flow {
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
        is_astray: record.direction != Direction::Egress && is_astray(record),
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

/// Is it for an address that is nobody's own, or did the watcher, who knew the endpoint's, find it was for
/// another's?
fn is_astray(record: &Record<'_>) -> bool {
    let other = Reason::OtherDestination.label();
    let recorded = || record.recorded()?.reason;
    record.local.ip.is_some_and(audit::is_for_many) || recorded().as_deref() == Some(other)
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
