//! From a log to the account.

use std::io;

use crate::{
    audit::{Audit, Judgement, Seen},
    commands::logs::{self, Stopped, Told},
    model::FlowEvent,
    policy::{Connection, Verdicts},
    replay::{Identities, Record},
};

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
        let Self {
            audit,
            told,
            identities,
            diff,
        } = self;
        told.read(name, source, |record, text| {
            let identity = identities.of(record);
            let seen = Seen {
                flow: identity.flow,
                connection: identity.connection,
                totals: record.totals(),
                ended: record.event == FlowEvent::End,
                before: if *diff {
                    record.recorded().map(|it| it.outcome)
                } else {
                    None
                },
            };
            let number = audit.note(&seen, || logs::flow(record), || logs::when(record));
            match audit.judgement(number) {
                Some(judgement) => each(record, text, number, judgement),
                None => Ok(()),
            }
        })
    }
}
