//! `flowmon suggest`

use super::{
    Exit, Failure, documents,
    logs::{self, Stopped, Told},
    print,
};
use crate::{
    model::{Direction, FlowEvent},
    policy::PolicySet,
    replay::{Identities, Record},
    settings,
    sinks::counted,
    suggest::{Format, Report, Seen, suggest},
};

pub(super) fn run(settings: &settings::Suggest) -> Result<Exit, Failure> {
    let judging = &settings.judging;
    if settings.format == Format::ClusterNetworkPolicy && !judging.policies.is_empty() {
        let says = "--merge is for network policies: cluster network policies of the baseline tier can't \
                    add to what others isolate";
        return Err(Failure::new(Exit::Usage, says));
    }
    let sources = logs::open(&settings.flows)?;
    let existing = if judging.policies.is_empty() {
        PolicySet::default()
    } else {
        documents::policies(&judging.policies)?
    };
    let inventory = documents::inventory(&judging.inventory)?;
    let mut told = Told::default();
    let mut seen = Seen::default();
    let mut identities = Identities::new();
    for (name, source) in sources {
        let read = told.read(&name, source, |record, _| {
            let report = report(record, &mut identities);
            let is_service = || record.remote.kind.as_deref() == Some("service");
            seen.note(&report, || (logs::flow(record), is_service()));
            Ok(())
        });
        match read {
            Ok(()) | Err(Stopped::Output(_)) => {}
            Err(Stopped::Input(line, error)) => return Err(logs::unread(&name, line, &error)),
        }
    }
    let notes = notes(&told, &seen);
    let suggestion = suggest(
        &seen,
        &inventory,
        &existing,
        judging.corners,
        settings.format,
        &notes,
    );
    print(&suggestion.yaml)?;
    if suggestion.open > 0 {
        let flows = counted(suggestion.open, "flow");
        tracing::warn!("{flows} not covered: see the questions at the end");
    }
    if let Some(what) = incomplete(&told, &seen) {
        tracing::warn!("the evidence is incomplete: {what}");
    }
    Ok(Exit::Done)
}

fn report(record: &Record<'_>, identities: &mut Identities) -> Report {
    const RESERVED: u16 = 1024;
    let identity = identities.of(record);
    let initiator = match record.direction {
        Direction::Egress => record.local.port,
        Direction::Ingress => record.remote.port,
        Direction::Unknown => None,
    };
    let tcp = record.tcp.as_ref().and_then(|tcp| tcp.state.as_deref());
    let totals = record.totals();
    Report {
        flow: identity.flow,
        connection: identity.connection,
        from_reserved: initiator.is_some_and(|port| port < RESERVED),
        bytes: totals.tx.bytes.saturating_add(totals.rx.bytes),
        ended: record.event == FlowEvent::End,
        answered: !matches!(tcp, Some("syn" | "refused" | "timeout")),
        when: logs::when(record),
    }
}

/// What to know before the rest is read, as lines.
fn notes(told: &Told, seen: &Seen) -> Vec<String> {
    let flows = seen
        .sightings()
        .map(|(_, sighting)| sighting.evidence.flows);
    let flows = counted(flows.sum(), "flow");
    let mut notes = vec![
        format!("What {flows} need at least, by flowmon suggest."),
        "What was not seen is not allowed: mind rare jobs, failover, upgrades, backups.".to_owned(),
    ];
    if let Some(what) = incomplete(told, seen) {
        notes.push(format!("INCOMPLETE: {what}."));
    }
    notes
}

/// Why more may have been there than was read.
fn incomplete(told: &Told, seen: &Seen) -> Option<String> {
    let lost: u64 = told
        .lost
        .values()
        .fold(0, |sum, lost| sum.saturating_add(*lost));
    let foreign = told
        .foreign
        .values()
        .fold(0, |sum: u64, it| sum.saturating_add(*it));
    let all = [
        (told.unreadable, "line that can't be read"),
        (foreign, "line of another schema"),
        (told.incomplete_runs, "run that says it is incomplete"),
        (told.open_runs, "log without its last line, the summary"),
        (lost, "loss"),
        (
            seen.left_out(),
            "report of more connections than there was room for",
        ),
    ];
    let all = all.iter().filter(|(count, _)| *count > 0);
    let words: Vec<String> = all
        .map(|(count, what)| format!("{count} x {what}"))
        .collect();
    (!words.is_empty()).then(|| words.join(", "))
}
