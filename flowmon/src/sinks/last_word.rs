//! What a daemon saw, among its diagnostics when it stops: whoever finds no summary in its log, or has no
//! log, has it there.

use super::{Overview, Sink, Told, WriterEnd};
use crate::{clock::Moment, model::Summary};

/// Says nothing before the end.
pub struct LastWord;

impl Sink for LastWord {
    fn flow(&mut self, _: &Told<'_>) {}

    fn interval(&mut self, _: &Overview, _: &Moment) {}

    fn finish(self: Box<Self>, summary: &Summary) -> WriterEnd {
        let Summary {
            totals,
            unattributed,
            audited,
            ..
        } = summary;
        let audited = audited.as_deref();
        let lost = |cause| summary.lost.get(cause);
        tracing::info!(
            interfaces = summary.interfaces,
            flows = summary.flows,
            packets = totals.tx.packets + totals.rx.packets,
            bytes = totals.tx.bytes + totals.rx.bytes,
            unattributed_packets = unattributed.tx.packets + unattributed.rx.packets,
            unattributed_bytes = unattributed.tx.bytes + unattributed.rx.bytes,
            lost_map_full = lost("map_full"),
            lost_events = lost("events"),
            lost_unknown_interface = lost("unknown_interface"),
            lost_sink_queue = lost("sink_queue"),
            lost_interfaces = lost("interfaces"),
            lost_names = lost("names"),
            violations = audited.map(|audited| audited.violations),
            undecided = audited.map(|audited| audited.undecided),
            complete = summary.complete,
            "stopped"
        );
        WriterEnd::Written
    }
}
