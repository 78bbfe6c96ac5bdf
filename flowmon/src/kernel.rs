//! The kernel side, seen from userspace: load the programs, attach them, read what they count.
//!
//! The only room that names aya.

mod attach;
mod batch;
mod capability;
mod clsact;
mod diagnose;
mod error;
mod events;
mod link;
mod maps;
mod object;
mod pins;
mod tcx;
mod test_run;
mod ticks;
mod witness;
mod xdp;

use std::{collections::BTreeMap, net::IpAddr, os::fd::OwnedFd, sync::Arc, time::Duration};

use aya::Ebpf;
use flowmon_common::{
    Clocks, Counter, Crossed, Ended, FlowKey, Ledger, Targets, Totals, Witness, hygiene::Hygiene,
    latency::Latencies,
};

pub use attach::Hook;
pub use diagnose::{Check, Finding, diagnose};
pub use error::Error;
pub use events::{Diagnostics, Events};
pub use object::{ProgramFacts, is_embedded};
pub use pins::Left;
pub use test_run::{Frame, Outcome};
pub use xdp::XdpMode;

use crate::model::{Flow, Interface, Reading};
use attach::Attachment;
use clsact::Owner;
use maps::Maps;
use pins::Pins;
use ticks::Ticks;
use witness::WitnessMaps;

/// The loaded programs, their maps, and the interfaces they are attached to.
pub struct Datapath {
    ebpf: Ebpf,
    maps: Maps,
    witness: WitnessMaps,
    attached: BTreeMap<u32, Attached>,
    xdp: Option<XdpMode>,
    ticks: Ticks,
    /// Of the clsact filters, if there are any.
    owner: Option<Arc<Owner>>,
    /// What outlives a daemon.
    pins: Option<Pins>,
}

/// What is attached to an interface. Dropping it detaches, but for a daemon's flow programs.
struct Attached {
    /// First: what it counts after this is gone, nobody would compare.
    _witness: Option<OwnedFd>,
    _flows: Attachment,
}

/// What became of attaching.
#[derive(Debug)]
pub struct Hooks {
    /// How flows are counted.
    pub flows: Hook,
    /// The witness: there or not, because it was not asked for or does not fit the interface; or
    /// why there is none.
    pub witness: Result<Option<XdpMode>, Error>,
    /// Flows were counted before, by a daemon before this one.
    pub taken_over: bool,
}

/// An interface that a daemon before this one watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inherited {
    /// Its index.
    pub ifindex: u32,
    /// What it was called; empty where that is not known.
    pub name: String,
    /// Is it attached to still? Otherwise it is gone, whoever has its index, or the daemon was killed
    /// when it had begun to attach or to detach.
    pub is_attached: bool,
}

impl Datapath {
    /// Loads the programs, with room for `max_flows` flows. What they count and where they are attached
    /// ends with this value.
    pub fn load(max_flows: u32) -> Result<Self, Error> {
        Self::of(max_flows, None)
    }

    /// As the daemon of the calling thread's network namespace: what is counted, and where, outlives
    /// the process, and is taken over from the one before it, whatever `max_flows` that one was given.
    /// [`Error::Running`] where there is a daemon.
    pub fn take_over(max_flows: u32) -> Result<Self, Error> {
        Self::of(max_flows, Some(Pins::open()?))
    }

    fn of(max_flows: u32, pins: Option<Pins>) -> Result<Self, Error> {
        let mut ebpf = object::load(max_flows, pins.as_ref().map(Pins::folder))?;
        let maps = Maps::take(&mut ebpf)?;
        let witness = WitnessMaps::take(&mut ebpf)?;
        let ticks = Ticks::new(read_clocks(&mut ebpf, &maps)?);
        Ok(Self {
            ticks,
            ebpf,
            maps,
            witness,
            attached: BTreeMap::new(),
            xdp: None,
            owner: pins.as_ref().map(|pins| Arc::clone(pins.owner())),
            pins,
        })
    }

    /// Flows there is room for.
    pub const fn max_flows(&self) -> u32 {
        self.maps.max_flows()
    }

    /// The interfaces that the daemon before this one watched. Those that are attached to count on, and
    /// are to be [`Self::attach`]ed to, which goes on with them; or, like the others, to be settled.
    pub fn inherited(&self) -> Vec<Inherited> {
        let Some(pins) = &self.pins else {
            return Vec::new();
        };
        let registered = self.maps.registered();
        registered
            .map(|ifindex| Inherited {
                ifindex,
                name: pins.name(ifindex),
                is_attached: pins.hook(ifindex).is_some(),
            })
            .collect()
    }

    /// Interfaces that are attached to from here on get a witness, in this mode.
    pub const fn set_witness(&mut self, mode: Option<XdpMode>) {
        self.xdp = mode;
    }

    /// The stream of new flows. There is one.
    pub fn events(&mut self) -> Result<Events, Error> {
        Events::open(&mut self.ebpf)
    }

    /// The kernel side's own rare messages, to be forwarded to the log.
    pub fn diagnostics(&mut self) -> Result<Diagnostics, Error> {
        Diagnostics::open(&mut self.ebpf)
    }

    /// Attaches to both directions of `interface`, and says by which hook; and the witness, without
    /// which it does.
    ///
    /// Whoever speaks first in a connectionless protocol after `settled_ns` (`CLOCK_MONOTONIC`) is
    /// taken to have opened the flow. Nobody is while only one direction is seen, now or in
    /// [`Self::detach`]: what is heard could be an answer.
    pub fn attach(
        &mut self,
        interface: &Interface,
        hook: Option<Hook>,
        settled_ns: u64,
    ) -> Result<Hooks, Error> {
        let ifindex = interface.ifindex;
        let inherited = self.pins.as_ref().and_then(|pins| pins.hook(ifindex));
        let inherited = inherited.filter(|_| self.maps.slot(ifindex).is_some());
        if inherited.is_some() {
            // Flows go on; the witness begins.
            self.maps.set_owned(ifindex, 0)?;
            self.clear_witness(ifindex)?;
        } else {
            self.register(ifindex, maps::UNSETTLED)?;
            if let Some(pins) = &self.pins {
                pins.note(ifindex, &interface.name)
                    .map_err(|error| Error::System {
                        call: "noting an interface in bpffs",
                        error,
                    })?;
            }
        }
        // The witness first: making a tcx link waits until no packet is under way that it missed.
        let witness = match self.xdp {
            Some(mode) if xdp::shows_endpoint(interface) => {
                xdp::attach(&mut self.ebpf, interface, mode).map(|link| Some((mode, link)))
            }
            _ => Ok(None),
        };
        let pins = self.pins.as_ref();
        let hook = inherited.or(hook);
        match attach::attach(&mut self.ebpf, &mut self.owner, pins, interface, hook) {
            Ok(flows) => {
                self.maps.settle_from(ifindex, settled_ns)?;
                let (mode, witness) = match witness {
                    Ok(witness) => {
                        let (mode, link) = witness.unzip();
                        (Ok(mode), link)
                    }
                    Err(error) => (Err(error), None),
                };
                let hook = flows.hook();
                let attached = Attached {
                    _witness: witness,
                    _flows: flows,
                };
                self.attached.insert(ifindex, attached);
                Ok(Hooks {
                    flows: hook,
                    witness: mode,
                    taken_over: inherited.is_some(),
                })
            }
            Err(error) => {
                drop(witness);
                if inherited.is_none() {
                    self.detach(ifindex);
                    self.release(ifindex, &[])?;
                }
                Err(error)
            }
        }
    }

    /// Detaches from an interface, there or gone. Its counts stay until [`Self::release`].
    pub fn detach(&mut self, ifindex: u32) {
        if let Err(error) = self.maps.unsettle(ifindex) {
            tracing::debug!("detaching: {error}");
        }
        self.attached.remove(&ifindex);
        if let Some(Err(error)) = self.pins.as_ref().map(|pins| pins.detach(ifindex)) {
            tracing::warn!("detaching: {error}");
        }
    }

    /// Adds an interface that was detached to those that left, for who comes after this daemon: what
    /// crossed it, and what of that was in flows. It is to be released next.
    pub fn settle(&mut self, ifindex: u32, totals: Totals, ended: Ended) -> Result<(), Error> {
        self.maps.settle(ifindex, totals, ended)
    }

    /// Those that left, and how far the daemon before this one had read.
    pub fn ledger(&self) -> Result<Ledger, Error> {
        self.maps.ledger()
    }

    /// What a daemon before this one read of flows that have left the map.
    pub fn ended(&self, ifindex: u32) -> Result<Ended, Error> {
        self.maps.ended(ifindex)
    }

    /// Keeps that, for who comes after this daemon.
    pub fn keep_ended(&mut self, ifindex: u32, ended: Ended) -> Result<(), Error> {
        self.maps.keep_ended(ifindex, ended)
    }

    /// And that all entries that were made before this moment (`CLOCK_MONOTONIC`) have been read, and
    /// their times told as those of a wall clock that goes so much before; and when entries were last
    /// evicted.
    pub fn keep_times(
        &mut self,
        drained_ns: u64,
        clock_offset_ns: i64,
        evicted_ns: Option<u64>,
    ) -> Result<(), Error> {
        self.maps
            .keep_times(drained_ns, clock_offset_ns, evicted_ns)
    }

    /// Forgets an interface that was detached: its flows and its totals are for another now.
    pub fn release(&mut self, ifindex: u32, flows: &[FlowKey]) -> Result<(), Error> {
        self.maps.remove_flows(flows)?;
        self.witness.disown(ifindex)?;
        self.maps.release(ifindex)
    }

    /// Reads every flow's entry. Nothing is changed by it: counters are cumulative.
    pub fn drain(&mut self, mut each: impl FnMut(&Flow)) -> Result<(), Error> {
        self.ticks.update(read_clocks(&mut self.ebpf, &self.maps)?);
        let ticks = self.ticks;
        self.maps.drain(|key, stats| {
            let last_ns = ticks.monotonic_ns(stats.last_jiffies).max(stats.first_ns);
            each(&Flow {
                key: *key,
                stats: *stats,
                last_ns,
            });
        })
    }

    /// How many entries there are.
    pub fn flows(&mut self) -> Result<usize, Error> {
        let mut flows = 0;
        self.maps.drain(|_, _| flows += 1)?;
        Ok(flows)
    }

    /// Removes a flow's entry, unless it has changed since it was read: a flow that lives on stays.
    /// Says whether the entry is gone.
    pub fn remove(&mut self, flow: &Flow) -> Result<bool, Error> {
        self.maps.remove_unchanged(&flow.key, &flow.stats)
    }

    /// The exact totals of a registered interface.
    pub fn totals(&self, ifindex: u32) -> Result<Totals, Error> {
        Ok(self.crossed(ifindex)?.wire)
    }

    /// The same, and as socket buffers.
    pub fn crossed(&self, ifindex: u32) -> Result<Crossed, Error> {
        self.maps.crossed(ifindex)
    }

    /// The round-trip times of a registered interface.
    pub fn latencies(&self, ifindex: u32) -> Result<Latencies, Error> {
        self.maps.latencies(ifindex)
    }

    /// These, and no others, are the addresses of the endpoint behind an interface: its packets
    /// from others count as spoofed. Of an IP version without an address here nothing is known, so
    /// nothing is judged.
    pub fn own(&mut self, ifindex: u32, addresses: &[IpAddr]) -> Result<(), Error> {
        self.maps.set_owned(ifindex, 0)?;
        let versions = self.witness.own(ifindex, addresses)?;
        self.maps.set_owned(ifindex, versions)
    }

    /// What the witness and the flow programs count of what the endpoint sent.
    pub fn reading(&self, ifindex: u32) -> Result<Reading, Error> {
        let before = self.maps.crossed(ifindex)?;
        let witness = match self.maps.slot(ifindex) {
            Some(slot) => self.witness.witness(slot)?,
            None => Witness::default(),
        };
        Ok(Reading {
            before,
            witness,
            after: self.maps.crossed(ifindex)?,
        })
    }

    /// What the witness found odd.
    pub fn hygiene(&self, ifindex: u32) -> Result<Hygiene, Error> {
        let slot = self.maps.slot(ifindex);
        slot.map_or_else(|| Ok(Hygiene::default()), |slot| self.witness.hygiene(slot))
    }

    /// Ends an interval of [`Self::targets`], and begins one.
    pub fn turn_targets(&mut self) -> Result<(), Error> {
        self.witness.turn()
    }

    /// Whom the endpoint asked for connections in the interval that ended; once.
    pub fn targets(&mut self, ifindex: u32) -> Result<Targets, Error> {
        let slot = self.maps.slot(ifindex);
        slot.map_or_else(|| Ok(Targets::default()), |slot| self.witness.targets(slot))
    }

    /// What the kernel side could not attribute, by cause.
    pub fn counters(&self) -> Result<Vec<(Counter, u64)>, Error> {
        self.maps.counters()
    }

    /// One of those.
    pub fn counter(&self, counter: Counter) -> Result<u64, Error> {
        self.maps.counter(counter)
    }

    /// Size and verification effort of each program, all of which it loads.
    pub fn program_facts(&mut self) -> Result<Vec<ProgramFacts>, Error> {
        object::facts(&mut self.ebpf)
    }

    /// How long each loaded program has run so far; nothing while the kernel does not measure that.
    pub fn run_times(&self) -> BTreeMap<String, Duration> {
        object::run_times(&self.ebpf)
    }

    /// Registers an interface without attaching to it, so that [`Self::run`] can play its part.
    pub fn register(&mut self, ifindex: u32, settled_ns: u64) -> Result<(), Error> {
        self.maps.register(ifindex, settled_ns)?;
        self.clear_witness(ifindex)
    }

    fn clear_witness(&mut self, ifindex: u32) -> Result<(), Error> {
        let slot = self.maps.slot(ifindex);
        slot.map_or(Ok(()), |slot| self.witness.clear(slot))
    }

    /// Runs one frame through a program, outside any interface (`BPF_PROG_TEST_RUN`).
    pub fn run(&mut self, program: &str, frame: &Frame<'_>) -> Result<Outcome, Error> {
        test_run::run(&mut self.ebpf, program, frame)
    }
}

/// Gives up, for the calling thread and those it starts from here on, what a daemon does not need while
/// it runs. To be called before anything else: threads that were started keep what they have.
pub fn give_up_privileges() -> Result<(), Error> {
    object::raise_memlock(); // takes one of those
    capability::give_up_others().map_err(|error| Error::System {
        call: "giving up privileges",
        error: error.into(),
    })
}

/// Removes the filters that flowmons left which were killed, but for a daemon's, in the network namespace
/// of the calling thread, and their qdiscs where nobody else uses them. Those of live flowmons, and of others, stay.
/// Returns the interface of each filter that was removed.
pub fn remove_leftovers() -> Result<Vec<u32>, Error> {
    clsact::remove_leftovers().map_err(|error| Error::System {
        call: "looking for filters of a killed flowmon",
        error,
    })
}

/// Removes what a dead daemon left in the network namespace of the calling thread: its maps, links and
/// filters. [`Error::Running`] where it is alive.
pub fn remove_left() -> Result<Left, Error> {
    pins::remove_left()
}

/// Processors that may be there at one time or another, each of which counts for itself.
pub fn possible_cpus() -> usize {
    aya::util::nr_cpus().unwrap_or(1)
}

fn read_clocks(ebpf: &mut Ebpf, maps: &Maps) -> Result<Clocks, Error> {
    let nothing = Frame {
        bytes: &[0; 64],
        ifindex: 0,
        gso_segments: 0,
        repeat: 1,
    };
    test_run::run(ebpf, object::CLOCK, &nothing)?;
    maps.clocks()
}
