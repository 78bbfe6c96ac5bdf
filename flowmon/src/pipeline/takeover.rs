//! A daemon goes on where the one before it was, however that ended, and keeps what the next one must
//! know: maps and programs have gone on counting meanwhile.

use flowmon_common::{Counter, Totals};

use super::{Error, Pipeline};
use crate::clock::Clock;

impl Pipeline {
    /// Takes over what the daemon before this one watched, and settles what is to be watched no longer.
    pub(super) fn take_over(&mut self) -> Result<(), Error> {
        let ledger = self.datapath.ledger()?;
        if ledger.clock_offset_ns != 0 {
            self.clock = Clock::going_on(ledger.clock_offset_ns);
        }
        self.clock.now(); // it may have been set
        let evicted_ns = self.evicted_so_far(ledger.evicted_ns)?;
        self.datapath
            .keep_times(ledger.drained_ns, self.clock.offset_ns(), evicted_ns)?;
        self.lost_before = self.datapath.counter(Counter::EventsLost)?;
        self.balance.add(ledger.totals, ledger.ended.traffic);
        self.table.inherit(ledger.drained_ns, evicted_ns);
        self.table.inherit_reported(ledger.ended.flows);
        let inherited = self.datapath.inherited();
        for one in &inherited {
            let ended = self.datapath.ended(one.ifindex)?;
            self.table.inherit_ended(one.ifindex, ended);
        }
        let parting = self.teller.attachments.take_over(
            &inherited,
            ledger.interfaces,
            &mut self.datapath,
            &mut self.witnesses,
            &mut self.clock,
        )?;
        if inherited.is_empty() {
            return Ok(());
        }
        tracing::info!(
            "counting on where the flowmon before this one was: {} interfaces, of which {} left",
            inherited.len(),
            parting.len()
        );
        self.part_with(&parting)
    }

    /// When entries were last evicted: then, or perhaps just so, while nobody read them. What is evicted
    /// leaves a map that is full but for what each processor has set aside, which is half of it at most
    /// (`kernel/bpf/bpf_lru_list.c`).
    fn evicted_so_far(&mut self, known_ns: u64) -> Result<Option<u64>, Error> {
        if self.datapath.flows()? * 2 >= self.max_flows {
            return Ok(Some(self.clock.now().monotonic_ns));
        }
        Ok((known_ns != 0).then_some(known_ns))
    }

    /// Keeps what was read of flows that have left the map since. Killed before that, a daemon leaves
    /// them unattributed.
    pub(super) fn keep(&mut self) -> Result<(), Error> {
        if self.pinned {
            for ifindex in self.teller.attachments.attached() {
                self.datapath
                    .keep_ended(ifindex, self.table.ended(ifindex))?;
            }
        }
        Ok(())
    }

    /// The last reading of a daemon, which detaches from nothing: totals before flows, so of those no
    /// more than of these.
    pub(super) fn leave(&mut self, all: &[u32]) -> Result<(), Error> {
        let mut totals = Vec::new();
        for &ifindex in all {
            totals.push((ifindex, self.datapath.totals(ifindex)?));
        }
        self.drain()?;
        for (ifindex, totals) in totals {
            let attributed = at_most(self.table.attributed(ifindex), totals);
            self.balance.add(totals, attributed);
            if let Some(endpoint) = self.teller.attachments.endpoint(ifindex) {
                self.latency
                    .add(endpoint, &self.datapath.latencies(ifindex)?);
            }
            if let Some(witnesses) = &mut self.witnesses {
                let name = self.teller.attachments.name(ifindex);
                witnesses.close(ifindex, &self.datapath, name)?;
            }
        }
        Ok(())
    }
}

fn at_most(mut amount: Totals, limit: Totals) -> Totals {
    for (amount, limit) in [(&mut amount.tx, limit.tx), (&mut amount.rx, limit.rx)] {
        amount.packets = amount.packets.min(limit.packets);
        amount.bytes = amount.bytes.min(limit.bytes);
    }
    amount
}
