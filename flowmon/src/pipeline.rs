//! The one place that composes: interfaces come and go, programs are attached to them, counters
//! are read, flows are tracked, sinks are told. One task owns it all; nothing in it waits for a
//! reader.

mod attachments;
mod balance;
mod coverage;
mod identities;
mod judging;
mod latency;
mod takeover;
mod teller;
mod witness;
mod workings;

use std::{future::Future, io};

use flowmon_common::{Counter, Totals};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Duration, MissedTickBehavior, interval_at, sleep},
};

use crate::{
    clock::Clock,
    flow::FlowTable,
    identity::Known,
    kernel::{self, Datapath, Diagnostics, Events},
    kubernetes::Kubernetes,
    model::{Finding, Report, Summary},
    netlink::{self, LinkWatch},
    settings::Watch,
    sinks::{Overview, Sink as _, Sinks, WriterEnd},
};
use attachments::Attachments;
use balance::Balance;
use identities::Identities;
pub use identities::{Survey, survey};
use judging::Judging;
pub use judging::Policies;
use teller::Teller;
use witness::Witnesses;

/// New flows that are taken in before anything else gets its turn: some milliseconds' worth.
const EVENTS_AT_ONCE: usize = 8192;
/// So many new flows at once are a flood.
const FLOOD: usize = 128;

/// Time to the first comparison with what the veths' far ends counted, and between two: each is a
/// question for each veth.
const COMPARE_AFTER: Duration = Duration::from_secs(1);
const COMPARE_EVERY: Duration = Duration::from_secs(5);
/// What is under way from a veth's counter to the hook is there long before so many times so long.
const UNDER_WAY: (u32, Duration) = (25, Duration::from_millis(20));

/// What becomes of policies, on its way.
const AMENDMENTS: usize = 16;

/// Why a watch could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A name that no interface has.
    #[error(
        "no interface is called {name}; `flowmon interfaces` lists those there are, and \
         `--iface 'veth*'` waits for some to come"
    )]
    NoSuchInterface {
        /// The name.
        name: String,
    },
    /// The kernel did not do what was asked.
    #[error(transparent)]
    Kernel(#[from] kernel::Error),
    /// Interfaces can't be listed or followed.
    #[error(transparent)]
    Netlink(#[from] netlink::Error),
    /// The output can't be written.
    #[error("cannot write the output: {0}")]
    Output(io::Error),
    /// Waiting for something failed.
    #[error("waiting for the kernel: {0}")]
    Wait(#[from] io::Error),
}

/// Watches until `stop`, the end of the output's reader, or the duration in the settings; then
/// detaches, reads the counters once more, and draws the balance.
pub async fn watch(
    settings: &Watch,
    declared: Vec<Known>,
    policies: Option<Policies>,
    sinks: Sinks,
    output_ended: oneshot::Receiver<()>,
    stop: impl Future<Output = ()>,
) -> Result<Summary, Error> {
    let mut pipeline = Pipeline::start(settings, declared, policies, sinks).await?;
    let result = pipeline.run(settings, output_ended, stop).await;
    let summary = pipeline.finish().await;
    result.and(summary)
}

struct Pipeline {
    links: LinkWatch,
    teller: Teller,
    datapath: Datapath,
    witnesses: Option<Witnesses>,
    events: Events,
    diagnostics: Diagnostics,
    table: FlowTable,
    balance: Balance,
    latency: latency::Gathered,
    coverage: coverage::Watch,
    workings: workings::Gathered,
    clock: Clock,
    /// A daemon: what is attached stays when this ends.
    pinned: bool,
    max_flows: usize,
    /// Flows announced since the last drain.
    opened: usize,
    /// Events lost until the last drain.
    lost_before: u64,
    /// What had crossed the interfaces before the last interval's drain.
    drained: Option<Totals>,
}

/// The API of Kubernetes, if it is asked, and the policies that are in force there.
fn of_cluster(settings: &Watch) -> Option<(Kubernetes, Policies)> {
    let kubernetes = identities::kubernetes(settings.places.kubernetes.as_ref()?);
    let (sender, amendments) = mpsc::channel(AMENDMENTS);
    let corners = settings.judging.as_ref().map(|judging| judging.corners);
    let policies = Policies {
        basis: None,
        amendments,
        is_declared: false,
    };
    Some((
        kubernetes.judging(sender, corners.unwrap_or_default()),
        policies,
    ))
}

impl Pipeline {
    async fn start(
        settings: &Watch,
        declared: Vec<Known>,
        policies: Option<Policies>,
        sinks: Sinks,
    ) -> Result<Self, Error> {
        let (interfaces, links) = LinkWatch::open().await?;
        let attachments = Attachments::new(settings, interfaces)?;
        attachments.clean_up();
        let mut datapath = if settings.pinned {
            Datapath::take_over(settings.max_flows)?
        } else {
            Datapath::load(settings.max_flows)?
        };
        let max_flows = datapath.max_flows();
        if max_flows != settings.max_flows {
            tracing::warn!(
                "there is room for {max_flows} flows, as the flowmon before this one was given: for \
                 another number, stop flowmon and remove what it left by `flowmon cleanup`"
            );
        }
        let mut clock = Clock::new();
        let (kubernetes, policies) = of_cluster(settings)
            .map_or((None, policies), |(it, policies)| {
                (Some(it), Some(policies))
            });
        let identities = Identities::start(
            &settings.places,
            kubernetes,
            declared,
            attachments.interfaces(),
            &clock.now(),
        );
        datapath.set_witness(settings.xdp);
        let mut pipeline = Self {
            links,
            teller: Teller {
                attachments,
                identities,
                judging: policies.map(Judging::new),
                sinks,
            },
            events: datapath.events()?,
            diagnostics: datapath.diagnostics()?,
            datapath,
            witnesses: settings.xdp.map(Witnesses::new),
            table: FlowTable::with_capacity(max_flows as usize * 3 / 2),
            balance: Balance::default(),
            latency: latency::Gathered::default(),
            coverage: coverage::Watch::open()?,
            workings: workings::Gathered::default(),
            clock,
            pinned: settings.pinned,
            max_flows: max_flows as usize,
            opened: 0,
            lost_before: 0,
            drained: None,
        };
        pipeline.take_over()?;
        pipeline.reconcile().await?;
        pipeline.teller.attachments.announce();
        let now = pipeline.clock.now();
        let known = pipeline
            .teller
            .identities
            .settle(identities::SETTLING, &now)
            .await;
        pipeline.teller.identify(&known, &pipeline.table, &now);
        Ok(pipeline)
    }

    async fn run(
        &mut self,
        settings: &Watch,
        mut output_ended: oneshot::Receiver<()>,
        stop: impl Future<Output = ()>,
    ) -> Result<(), Error> {
        let mut ticks = interval_at(
            tokio::time::Instant::now() + settings.interval,
            settings.interval,
        );
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut comparisons =
            interval_at(tokio::time::Instant::now() + COMPARE_AFTER, COMPARE_EVERY);
        comparisons.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let over = async {
            match settings.duration {
                Some(duration) => sleep(duration).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(over, stop);
        loop {
            tokio::select! {
                biased; // a flood of new flows must keep nothing else waiting
                () = &mut stop => return Ok(()),
                () = &mut over => return Ok(()),
                _ = &mut output_ended => return Ok(()),
                event = self.links.next() => {
                    self.teller.attachments.learn(event?);
                    self.reconcile().await?;
                    let now = self.clock.now();
                    let interfaces = self.teller.attachments.interfaces();
                    let changes = self.teller.identities.follow(interfaces, &now);
                    self.teller.identify(&changes, &self.table, &now);
                }
                event = self.teller.next() => {
                    let now = self.clock.now();
                    self.teller.take(event, &self.table, &now);
                }
                forwarded = self.diagnostics.forward() => forwarded?,
                _ = ticks.tick() => {
                    self.interval()?;
                }
                _ = comparisons.tick() => {
                    self.coverage.read(&self.teller.attachments).await;
                    self.coverage.compare(&self.datapath, &self.teller.attachments)?;
                }
                ready = self.events.ready() => {
                    ready?;
                    self.follow_events()?;
                }
            }
            self.teller.sinks.flush();
        }
    }

    /// Attaches to what is to be watched and is not, detaches from what is no longer.
    async fn reconcile(&mut self) -> Result<(), Error> {
        let parting = self.teller.attachments.parting();
        if !parting.is_empty() {
            self.part_with(&parting)?;
        }
        self.teller.attachments.attach_missing(
            &mut self.datapath,
            &mut self.witnesses,
            &mut self.clock,
        )?;
        self.coverage
            .begin(&self.datapath, &self.teller.attachments)
            .await
    }

    /// Detaches from these, reads what there is, and settles their accounts.
    fn part_with(&mut self, parting: &[u32]) -> Result<(), Error> {
        self.detach(parting)?;
        self.settle(parting)
    }

    fn settle(&mut self, detached: &[u32]) -> Result<(), Error> {
        self.drain()?;
        for &ifindex in detached {
            self.part(ifindex)?;
        }
        Ok(())
    }

    fn detach(&mut self, parting: &[u32]) -> Result<(), Error> {
        for &ifindex in parting {
            if let Some(witnesses) = &mut self.witnesses {
                witnesses.part(ifindex, &self.datapath)?;
            }
            self.datapath.detach(ifindex);
        }
        Ok(())
    }

    /// Takes a portion of what the ring has, and drains early where new flows come fast: the map must
    /// not turn over before its entries were read once more.
    fn follow_events(&mut self) -> Result<(), Error> {
        let taken = self.take_events()?;
        self.opened += taken;
        if self.opened + self.events_lost()? >= self.max_flows / 3 {
            return self.drain();
        }
        let Self { table, teller, .. } = self;
        let now = self.clock.now();
        if taken < FLOOD {
            table.report_announced(&mut |report| {
                teller.tell(&report, &now);
            });
        } else {
            table.leave_announced();
        }
        Ok(())
    }

    /// Events lost since the last drain: flows that were opened all the same.
    fn events_lost(&self) -> Result<usize, Error> {
        let lost = self.datapath.counter(Counter::EventsLost)?;
        Ok(usize::try_from(lost - self.lost_before).unwrap_or(usize::MAX))
    }

    /// Takes a portion of what the ring has, which is all if it is less than [`EVENTS_AT_ONCE`]. What
    /// was lost before is known before: what came later is behind more than a portion.
    fn take_events(&mut self) -> Result<usize, Error> {
        let lost = self.events_lost()?;
        let Self {
            events,
            table,
            teller,
            ..
        } = self;
        let now = self.clock.now();
        if lost > 0 {
            table.missed(now.monotonic_ns);
        }
        Ok(events.take(EVENTS_AT_ONCE, |event| {
            table.announce(&event, &mut |report| {
                teller.tell(&report, &now);
            });
        }))
    }

    /// Reads all counters. Events first: the table relies on it.
    fn drain(&mut self) -> Result<(), Error> {
        let began = self.clock.now();
        for _ in 0..=Events::ALL / EVENTS_AT_ONCE {
            if self.take_events()? < EVENTS_AT_ONCE {
                break;
            }
        }
        self.opened = 0;
        let lost = self.events_lost()?;
        if lost > 0 {
            self.table.missed(self.clock.now().monotonic_ns);
        }
        self.lost_before += lost as u64;
        let Self {
            datapath,
            table,
            teller,
            ..
        } = self;
        let now = self.clock.now();
        let mut report = |report: Report<'_>| teller.tell(&report, &now);
        table.begin_drain(began.monotonic_ns);
        datapath.drain(|flow| table.update(flow, &mut report))?;
        table.end_drain(&mut report);
        let took_ns = self.clock.now().monotonic_ns - began.monotonic_ns;
        self.workings.drained(took_ns);
        if self.pinned {
            let evicted_ns = table.evicted_ns();
            datapath.keep_times(began.monotonic_ns, self.clock.offset_ns(), evicted_ns)?;
        }
        self.keep()
    }

    /// Removes what is over.
    fn expire(&mut self) -> Result<(), Error> {
        let Self {
            datapath,
            table,
            teller,
            ..
        } = self;
        let now = self.clock.now();
        for key in table.over(now.monotonic_ns) {
            let Some(flow) = table.get(&key) else {
                continue;
            };
            if datapath.remove(flow)? {
                table.end(&key, &mut |report| {
                    teller.tell(&report, &now);
                });
            }
        }
        self.keep()
    }

    /// Settles the account of an interface that was detached and drained.
    fn part(&mut self, ifindex: u32) -> Result<(), Error> {
        let Self {
            datapath,
            table,
            teller,
            balance,
            witnesses,
            latency,
            coverage,
            workings,
            ..
        } = self;
        let now = self.clock.now();
        if let Some(witnesses) = witnesses {
            witnesses.close(ifindex, datapath, teller.attachments.name(ifindex))?;
        }
        if let Some(last) = workings::watched(ifindex, datapath, &teller.attachments, coverage)? {
            latency.add(&last.endpoint, &last.latencies);
            workings.parted(last);
        }
        let totals = datapath.totals(ifindex)?;
        let (flows, ended) = table.end_interface(ifindex, &mut |report| {
            teller.tell(&report, &now);
        });
        balance.add(totals, ended.traffic);
        datapath.settle(ifindex, totals, ended)?;
        coverage.part(ifindex);
        datapath.release(ifindex, &flows)?;
        teller.attachments.forget(ifindex);
        Ok(())
    }

    /// Totals are read before the flows: what they have more is not just on its way. And where they
    /// are what they were, no flow has grown.
    fn interval(&mut self) -> Result<(), Error> {
        let mut balance = self.balance;
        for ifindex in self.teller.attachments.attached() {
            balance.add(self.datapath.totals(ifindex)?, Totals::default());
        }
        if self.drained != Some(balance.totals()) {
            self.drain()?;
            self.drained = Some(balance.totals());
        }
        self.expire()?;
        for ifindex in self.teller.attachments.attached() {
            balance.add(Totals::default(), self.table.attributed(ifindex));
        }
        let counters = self.datapath.counters()?;
        let lost = balance::losses(
            &counters,
            self.teller.sinks.lost(),
            self.teller.attachments.failed() + self.links.unreadable(),
            self.teller.identities.not_waiting(),
        );
        let findings = self.findings()?;
        let watched =
            self.workings
                .interfaces(&self.datapath, &self.teller.attachments, &self.coverage)?;
        let workings = self.workings.workings(
            &self.datapath,
            &self.teller.identities,
            self.max_flows,
            &counters,
            lost.clone(),
        );
        let overview = Overview {
            watched,
            workings,
            ..balance.overview(
                self.teller.attachments.attached().count(),
                self.table.len(),
                lost.values().sum(),
                findings,
                self.coverage.so_far().bypassed,
                self.teller.audited(),
            )
        };
        self.teller.sinks.interval(&overview, &self.clock.now());
        Ok(())
    }

    /// Ends an interval of the witnesses: what is remarkable of it.
    fn findings(&mut self) -> Result<Vec<Finding>, Error> {
        let Some(witnesses) = &mut self.witnesses else {
            return Ok(Vec::new());
        };
        let name = |ifindex| self.teller.attachments.name(ifindex);
        Ok(witnesses.interval(&mut self.datapath, name)?)
    }

    /// Detaches, unless it is a daemon, reads the counters for the last time, and says what became of
    /// everything.
    async fn finish(mut self) -> Result<Summary, Error> {
        self.coverage.read(&self.teller.attachments).await;
        for _ in 0..UNDER_WAY.0 {
            if !self
                .coverage
                .compare(&self.datapath, &self.teller.attachments)?
            {
                break;
            }
            sleep(UNDER_WAY.1).await;
        }
        let coverage = self.coverage.all();
        let all: Vec<u32> = self.teller.attachments.attached().collect();
        self.findings()?;
        if !self.pinned {
            self.detach(&all)?;
        }
        self.teller.sinks.be_patient();
        let now = self.clock.now();
        self.teller.catch_up(&self.table, &now);
        if self.pinned {
            self.leave(&all)?;
        } else {
            self.settle(&all)?;
        }
        self.teller.sinks.flush();
        let counters = self.datapath.counters()?;
        let summary = self.balance.summary(
            self.teller.attachments.ever_attached(),
            self.table.reported(),
            &counters,
            balance::losses(
                &counters,
                self.teller.sinks.lost(),
                self.teller.attachments.failed() + self.links.unreadable(),
                self.teller.identities.not_waiting(),
            ),
        );
        let summary = summary
            .with_disagreements(self.teller.identities.disagreements())
            .with_witness(self.witnesses.map(Witnesses::summary))
            .with_coverage(coverage)
            .with_latency(self.latency.said())
            .with_audited(self.teller.audited());
        match Box::new(self.teller.sinks).finish(&summary) {
            WriterEnd::Written | WriterEnd::ReaderGone => Ok(summary),
            WriterEnd::Failed(error) => Err(Error::Output(error)),
        }
    }
}
