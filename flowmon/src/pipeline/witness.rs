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
    last: Option<(Reading, Range)>,
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
        if reading.witness.seen.packets > 0 || hooks.flows == Hook::Clsact {
            base = base.widened(self.on_its_way);
        }
        self.closed.witness.interfaces += 1;
        let account = Account::new(base, judges_sources);
        self.accounts.insert(ifindex, account);
        Ok(())
    }

    /// Reads an interface's counts. To be done once more before it is detached from.
    pub(super) fn look(&mut self, ifindex: u32, datapath: &Datapath) -> Result<(), kernel::Error> {
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

    /// Settles an account after its interface was detached from: when neither count has moved since
    /// the last look, they are exact.
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
        account.settle(&reading, &range);
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

    /// The first reading has none before it: what is on its way can't be told from what is lost.
    fn take(&mut self, reading: Reading, range: Range, on_its_way: Difference) {
        let range = range.beyond(&self.base);
        let earlier = match self.last {
            Some((_, earlier)) => earlier,
            None => range.widened(on_its_way),
        };
        self.now.difference = range.certain(&earlier, self.now.difference);
        self.now.seen = reading.witness.seen;
        self.now.syns = reading.witness.syns;
        self.last = Some((reading, range));
    }

    /// The last reading, after both counts have ended, though not at once.
    fn settle(&mut self, reading: &Reading, range: &Range) {
        if let Some((before, _)) = &self.last
            && before == reading
        {
            let range = range.beyond(&self.base);
            self.now.difference = range.certain(&range, self.now.difference);
        }
        self.now.seen = reading.witness.seen;
        self.now.syns = reading.witness.syns;
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
