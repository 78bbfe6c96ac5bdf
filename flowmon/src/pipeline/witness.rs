//! The second opinion on each interface, and what is remarkable of it.

use std::collections::BTreeMap;

use flowmon_common::{Oddity, Traffic, hygiene::Hygiene};

use crate::{
    kernel::{self, Datapath, Hook, Hooks, XdpMode},
    model::{Difference, Finding, MANY_TARGETS, Range, Reading, Scan, Witnessed, odd_frames},
};

/// Interfaces with findings that the summary names.
const NAMED: usize = 100;

/// All of them, there and gone.
pub(super) struct Witnesses {
    mode: XdpMode,
    /// What can be on its way from the witness to the flow programs.
    on_its_way: Difference,
    accounts: BTreeMap<u32, Account>,
    /// The sums of those that are closed.
    closed: Witnessed,
}

/// One interface. All numbers are since it was attached to.
struct Account {
    /// The difference when both were attached.
    base: Range,
    last: Option<Reading>,
    now: Observed,
    /// When the interval began.
    before: Observed,
    judges_sources: bool,
}

#[derive(Clone, Copy, Default)]
struct Observed {
    seen: Traffic,
    difference: Difference,
    hygiene: Hygiene,
    syns: u64,
    /// In the latest interval.
    targets: u64,
    /// In any.
    most_targets: u64,
}

impl Witnesses {
    /// Before any interface is attached to.
    pub(super) fn new(mode: XdpMode) -> Self {
        // On each CPU a buffer, of BIG TCP's size at most; or as many frames as a driver takes at
        // once.
        let (frames, bytes) = match mode {
            XdpMode::Skb => (1, 512 << 10),
            XdpMode::Native => (64, 64 * 1514),
        };
        if mode == XdpMode::Native {
            tracing::warn!(
                "--xdp native takes segmentation offload (TSO) from containers behind a veth:                  their TCP throughput falls to a third or less; --xdp skb costs some percent"
            );
        }
        let cpus = i64::try_from(kernel::possible_cpus()).unwrap_or(i64::MAX);
        Self {
            mode,
            on_its_way: Difference {
                frames: cpus.saturating_mul(frames),
                bytes: cpus.saturating_mul(bytes),
            },
            accounts: BTreeMap::new(),
            closed: Witnessed::new(mode.label()),
        }
    }

    /// An interface was attached to: what became of its witness. Without one it is watched all the
    /// same.
    pub(super) fn attached(
        &mut self,
        ifindex: u32,
        datapath: &Datapath,
        hooks: Hooks,
        judges_sources: bool,
    ) -> Result<(), kernel::Error> {
        match hooks.witness {
            Ok(None) => return Ok(()),
            Ok(Some(_)) => {}
            Err(error) => {
                tracing::warn!("{error}");
                self.closed.witness.failed += 1;
                return Ok(());
            }
        }
        let reading = datapath.reading(ifindex)?;
        let mut base = self.range(&reading);
        // Else nothing is on its way: the witness has seen nothing yet, and what was past it when it
        // came has arrived while the kernel made the tcx link.
        if reading.witness.seen.packets > 0 || hooks.flows == Hook::Clsact || hooks.taken_over {
            base = base.widened(self.on_its_way);
        }
        self.closed.witness.interfaces += 1;
        let account = Account::new(base, judges_sources);
        self.accounts.insert(ifindex, account);
        Ok(())
    }

    /// Reads an interface's counts for the last time before it is detached from.
    pub(super) fn part(&mut self, ifindex: u32, datapath: &Datapath) -> Result<(), kernel::Error> {
        if let Some(account) = self.accounts.get_mut(&ifindex) {
            account.last = Some(datapath.reading(ifindex)?);
        }
        Ok(())
    }

    fn look(&mut self, ifindex: u32, datapath: &Datapath) -> Result<(), kernel::Error> {
        let reading = datapath.reading(ifindex)?;
        let range = self.range(&reading);
        let on_its_way = self.on_its_way;
        if let Some(account) = self.accounts.get_mut(&ifindex) {
            account.take(reading, range, on_its_way);
            account.now.hygiene = datapath.hygiene(ifindex)?;
        }
        Ok(())
    }

    /// An interval is over: what is remarkable of it, by interface.
    pub(super) fn interval(
        &mut self,
        datapath: &mut Datapath,
        name: impl Fn(u32) -> String,
    ) -> Result<Vec<Finding>, kernel::Error> {
        datapath.turn_targets()?;
        let mut findings = Vec::new();
        let all: Vec<u32> = self.accounts.keys().copied().collect();
        for ifindex in all {
            self.look(ifindex, datapath)?;
            let targets = datapath.targets(ifindex)?.estimate();
            if let Some(account) = self.accounts.get_mut(&ifindex) {
                account.now.targets = targets;
                account.now.most_targets = account.now.most_targets.max(targets);
                findings.push(account.finding(name(ifindex), &account.before));
                account.before = account.now;
            }
        }
        findings.retain(|finding| !finding.is_none());
        Ok(findings)
    }

    /// Settles an account after its interface was detached from. When neither count has moved since
    /// before that, they are exact: by now the programs that were under way have ended.
    pub(super) fn close(
        &mut self,
        ifindex: u32,
        datapath: &Datapath,
        name: String,
    ) -> Result<(), kernel::Error> {
        let reading = datapath.reading(ifindex)?;
        let range = self.range(&reading);
        let Some(mut account) = self.accounts.remove(&ifindex) else {
            return Ok(());
        };
        if account.last == Some(reading) {
            account.take(reading, range, Difference::default());
        }
        account.now.seen = reading.witness.seen;
        account.now.syns = reading.witness.syns;
        account.now.hygiene = datapath.hygiene(ifindex)?;
        self.add(&account, name);
        Ok(())
    }

    /// What to say of those that were closed.
    pub(super) fn summary(self) -> Witnessed {
        self.closed
    }

    fn range(&self, reading: &Reading) -> Range {
        match self.mode {
            XdpMode::Skb => reading.buffers(),
            XdpMode::Native => reading.frames(),
        }
    }
}

impl Account {
    fn new(base: Range, judges_sources: bool) -> Self {
        Self {
            base,
            last: None,
            now: Observed::default(),
            before: Observed::default(),
            judges_sources,
        }
    }

    /// Nothing is on its way when nothing has moved since the last reading.
    fn take(&mut self, reading: Reading, range: Range, on_its_way: Difference) {
        let mut range = range.beyond(&self.base);
        if self.last != Some(reading) {
            range = range.widened(on_its_way);
        }
        self.now.difference = range.certain(self.now.difference);
        self.now.seen = reading.witness.seen;
        self.now.syns = reading.witness.syns;
        self.last = Some(reading);
    }

    /// What is remarkable of the time since `before`; a difference as long as there is one.
    fn finding(&self, interface: String, before: &Observed) -> Finding {
        let now = &self.now;
        let scan = Scan {
            targets: now.targets,
            syns: now.syns.saturating_sub(before.syns),
        };
        Finding {
            interface,
            difference: now.difference,
            hygiene: odd_frames(&now.hygiene, &before.hygiene),
            scan: (scan.targets >= MANY_TARGETS).then_some(scan),
        }
    }
}

impl Witnesses {
    fn add(&mut self, account: &Account, name: String) {
        let closed = &mut self.closed;
        let now = &account.now;
        closed.witness.frames += now.seen.packets;
        closed.witness.bytes += now.seen.bytes;
        closed.add_difference(now.difference);
        for (oddity, frames) in std::iter::zip(Oddity::ALL, now.hygiene.frames) {
            if oddity != Oddity::SpoofedSource || account.judges_sources {
                *closed.hygiene.entry(oddity.label()).or_default() += frames;
            }
        }
        closed.connections.syns += now.syns;
        let most = &mut closed.connections.most_targets;
        *most = now.most_targets.max(*most);

        let whole = Account {
            now: Observed {
                targets: now.most_targets,
                ..*now
            },
            ..*account
        };
        let finding = whole.finding(name, &Observed::default());
        if finding.is_none() {
            return;
        }
        if closed.findings.len() < NAMED {
            closed.findings.push(finding);
        } else {
            closed.more_findings += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use flowmon_common::{Crossed, Totals, Witness};
    use proptest::{collection::vec, prelude::*};

    use super::*;

    const CPUS: i64 = 2;
    const ON_ITS_WAY: Difference = Difference {
        frames: CPUS,
        bytes: CPUS << 19,
    };
    /// Every frame is so long.
    const LENGTH: u64 = 100;

    /// What happens to an interface, one after the other.
    #[derive(Debug, Clone, Copy)]
    enum Step {
        /// A frame is sent, and is on its way from one count to the other until it arrives.
        Sent,
        Arrived,
        /// A frame is taken away between the two.
        Taken,
        /// A frame is put there between the two.
        Put,
        /// Both counts are read, with so many frames sent and arrived meanwhile.
        Read(u8),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        vec(
            prop_oneof![
                8 => Just(Step::Sent),
                8 => Just(Step::Arrived),
                1 => Just(Step::Taken),
                1 => Just(Step::Put),
                2 => (0..4u8).prop_map(Step::Read),
            ],
            0..80,
        )
    }

    #[derive(Default)]
    struct Interface {
        seen: u64,
        counted: u64,
        taken: u64,
        put: u64,
        on_its_way: u64,
    }

    impl Interface {
        fn step(&mut self, step: Step, may_differ: bool) {
            match step {
                Step::Sent if self.on_its_way < CPUS as u64 => {
                    self.seen += 1;
                    self.on_its_way += 1;
                }
                Step::Arrived if self.on_its_way > 0 => {
                    self.on_its_way -= 1;
                    self.counted += 1;
                }
                Step::Taken if may_differ => {
                    self.seen += 1;
                    self.taken += 1;
                }
                Step::Put if may_differ => {
                    self.counted += 1;
                    self.put += 1;
                }
                _ => {}
            }
        }

        /// As [`Datapath::reading`] does: the count of the flow programs, the witness, and it again.
        fn read(&mut self, meanwhile: u8) -> Reading {
            // What was on its way at the reading before has arrived: that is long ago.
            while self.on_its_way > 0 {
                self.step(Step::Arrived, false);
            }
            let before = self.crossed();
            for _ in 0..meanwhile {
                self.step(Step::Sent, false);
            }
            let seen = self.seen;
            for _ in 0..meanwhile / 2 {
                self.step(Step::Arrived, false);
            }
            Reading {
                before,
                witness: Witness {
                    seen: traffic(seen),
                    ..Witness::default()
                },
                after: self.crossed(),
            }
        }

        fn crossed(&self) -> Crossed {
            Crossed {
                buffers: Totals {
                    tx: traffic(self.counted),
                    ..Totals::default()
                },
                ..Crossed::default()
            }
        }
    }

    fn traffic(packets: u64) -> Traffic {
        Traffic {
            packets,
            bytes: packets * LENGTH,
        }
    }

    /// Goes through the steps and to the end; the difference that is told is the last.
    fn told(steps: &[Step], may_differ: bool, at_rest: bool) -> (Vec<i64>, Interface) {
        let mut interface = Interface::default();
        let mut account = Account::new(Range::default(), false);
        let mut told = Vec::new();
        let end = [Step::Read(if at_rest { 0 } else { 3 })];
        for &step in steps.iter().chain(&end) {
            if let Step::Read(meanwhile) = step {
                let reading = interface.read(meanwhile);
                account.take(reading, reading.buffers(), ON_ITS_WAY);
                told.push(account.now.difference.frames);
            }
            interface.step(step, may_differ);
        }
        let last = interface.read(0);
        if account.last == Some(last) {
            account.take(last, last.buffers(), ON_ITS_WAY);
        }
        told.push(account.now.difference.frames);
        (told, interface)
    }

    proptest! {
        #[test]
        fn what_arrives_is_never_a_difference(steps in steps(), at_rest: bool) {
            let (told, _) = told(&steps, false, at_rest);
            prop_assert!(told.iter().all(|&frames| frames == 0), "{told:?}");
        }

        #[test]
        fn at_rest_the_difference_is_exact(steps in steps()) {
            let (told, interface) = told(&steps, true, true);
            let exact = interface.taken.cast_signed() - interface.put.cast_signed();
            prop_assert_eq!(told.last().copied(), Some(exact));
        }

        #[test]
        fn a_difference_is_never_more_than_there_is(steps in steps(), at_rest: bool) {
            let (told, interface) = told(&steps, true, at_rest);
            let most = interface.taken.cast_signed();
            let least = -interface.put.cast_signed();
            prop_assert!(told.iter().all(|frames| (least..=most).contains(frames)), "{told:?}");
        }
    }

    #[test]
    fn what_was_under_way_when_it_began_is_no_difference() {
        let mut interface = Interface {
            seen: 3,
            counted: 1,
            on_its_way: 2,
            ..Interface::default()
        };
        let base = Reading {
            before: interface.crossed(),
            witness: Witness {
                seen: traffic(3),
                ..Witness::default()
            },
            after: interface.crossed(),
        };
        let mut account = Account::new(base.buffers().widened(ON_ITS_WAY), false);
        for _ in 0..2 {
            let reading = interface.read(0);
            account.take(reading, reading.buffers(), ON_ITS_WAY);
        }
        assert_eq!(account.now.difference, Difference::default());
    }
}
