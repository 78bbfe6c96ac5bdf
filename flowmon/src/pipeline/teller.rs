//! Who tells the sinks: of each report, where it was seen, who is at the other end, and what policies
//! say of it.

use std::sync::Arc;

use flowmon_common::Totals;
use tokio::time::Instant;

use super::{attachments::Attachments, identities::Identities, judging::Judging};
use crate::{
    audit::{Amendment, Observed},
    clock::Moment,
    flow::FlowTable,
    identity::{Changes, News},
    model::{Audited, Flow, FlowEvent, Report},
    sinks::{Sink as _, Sinks, Told},
};

pub(super) struct Teller {
    pub(super) attachments: Attachments,
    pub(super) identities: Identities,
    pub(super) judging: Option<Judging>,
    pub(super) sinks: Sinks,
}

/// What may happen to names and policies.
pub(super) enum Event {
    News(News),
    Amendment(Amendment),
    /// It is time to judge flows again.
    Due,
}

impl Teller {
    pub(super) fn tell(&mut self, report: &Report<'_>, now: &Moment) {
        let Some(endpoint) = self.attachments.endpoint(report.flow.key.ifindex) else {
            return;
        };
        let remote = self.identities.note(report, endpoint, now);
        let ended = report.event == FlowEvent::End;
        let observed = Observed {
            flow: report.flow,
            endpoint,
            remote,
        };
        let judging = self.judging.as_mut();
        let verdict = judging.and_then(|judging| judging.note(&observed, ended).verdict);
        self.sinks.flow(&Told {
            report,
            endpoint,
            remote,
            verdict,
            now,
        });
    }

    /// Tells a flow again of which more is known.
    fn tell_again(&mut self, flow: &Flow, now: &Moment) {
        let report = Report {
            event: FlowEvent::Update,
            flow,
            before: Some(flow),
            growth: Totals::default(),
        };
        self.tell(&report, now);
    }

    /// What happens next. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Event {
        let Some(judging) = &mut self.judging else {
            return Event::News(self.identities.next().await);
        };
        let due = judging.due();
        tokio::select! {
            news = self.identities.next() => Event::News(news),
            amendment = judging.amended() => Event::Amendment(amendment),
            () = due => Event::Due,
        }
    }

    /// Takes in what was said of policies: nobody will ask again.
    pub(super) fn catch_up(&mut self, table: &FlowTable, now: &Moment) {
        while let Some(amendment) = self.judging.as_mut().and_then(Judging::pending) {
            self.take(Event::Amendment(amendment), table, now);
        }
    }

    /// Takes it in.
    pub(super) fn take(&mut self, event: Event, table: &FlowTable, now: &Moment) {
        match event {
            Event::News(news) => {
                let changes = self.identities.learn(news, now);
                self.identify(&changes, table, now);
            }
            Event::Amendment(amendment) => {
                let judging = self.judging.as_mut();
                let known = judging.and_then(|judging| judging.amend(amendment));
                if let Some(known) = known {
                    let changes = self.identities.declare(known, now);
                    self.identify(&changes, table, now);
                }
            }
            Event::Due => self.judge_again(table, now),
        }
    }

    /// Puts names where they became known, and tells the flows again that were told without.
    pub(super) fn identify(&mut self, changes: &Changes, table: &FlowTable, now: &Moment) {
        self.attachments.identify(&self.identities);
        if let Some(judging) = &mut self.judging {
            judging.learn(&self.identities, changes);
        }
        for key in self.identities.to_tell_again(changes) {
            if let Some(flow) = table.get(&key) {
                self.tell_again(flow, now);
            }
        }
    }

    /// Judges the flows again whose verdict may have changed, and tells those where it did.
    fn judge_again(&mut self, table: &FlowTable, now: &Moment) {
        let began = Instant::now();
        let Some(stale) = self.judging.as_mut().map(Judging::stale) else {
            return;
        };
        for flow in table.told().filter(|flow| stale.is_about(&flow.key)) {
            let Some(endpoint) = self.attachments.endpoint(flow.key.ifindex) else {
                continue;
            };
            let observed = Observed {
                flow,
                endpoint,
                remote: self.identities.remote(flow),
            };
            let judging = self.judging.as_mut();
            if judging.is_some_and(|judging| judging.note(&observed, false).is_other) {
                self.tell_again(flow, now);
            }
        }
        if let Some(judging) = &mut self.judging {
            judging.rest(began);
        }
    }

    /// What policies say so far.
    pub(super) fn audited(&self) -> Option<Arc<Audited>> {
        let judging = self.judging.as_ref()?;
        Some(Arc::new(judging.audited()))
    }
}
