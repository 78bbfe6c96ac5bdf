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
mod maps;
mod object;
mod tcx;
mod test_run;
mod ticks;

use std::{collections::BTreeMap, sync::Arc};

use aya::Ebpf;
use flowmon_common::{Clocks, Counter, FlowKey, Totals};

pub use attach::Hook;
pub use diagnose::{Check, Finding, diagnose};
pub use error::Error;
pub use events::{Diagnostics, Events};
pub use object::{ProgramFacts, is_embedded};
pub use test_run::{Frame, Outcome};

use crate::model::{Flow, Interface};
use attach::Attachment;
use clsact::Owner;
use maps::Maps;
use ticks::Ticks;

/// The loaded programs, their maps, and the interfaces they are attached to.
pub struct Datapath {
    ebpf: Ebpf,
    maps: Maps,
    attached: BTreeMap<u32, Attachment>,
    ticks: Ticks,
    /// Of the clsact filters, if there are any.
    owner: Option<Arc<Owner>>,
}

impl Datapath {
    /// Loads the programs, with room for `max_flows` flows.
    pub fn load(max_flows: u32) -> Result<Self, Error> {
        let mut ebpf = object::load(max_flows)?;
        let maps = Maps::take(&mut ebpf, max_flows)?;
        let ticks = Ticks::new(read_clocks(&mut ebpf, &maps)?);
        Ok(Self {
            ticks,
            ebpf,
            maps,
            attached: BTreeMap::new(),
            owner: None,
        })
    }

    /// The stream of new flows. There is one.
    pub fn events(&mut self) -> Result<Events, Error> {
        Events::open(&mut self.ebpf)
    }

    /// The kernel side's own rare messages, to be forwarded to the log.
    pub fn diagnostics(&mut self) -> Result<Diagnostics, Error> {
        Diagnostics::open(&mut self.ebpf)
    }

    /// Attaches to both directions of `interface`, and says by which hook.
    ///
    /// Whoever speaks first in a connectionless protocol after `settled_ns` (`CLOCK_MONOTONIC`) is
    /// taken to have opened the flow.
    pub fn attach(
        &mut self,
        interface: &Interface,
        hook: Option<Hook>,
        settled_ns: u64,
    ) -> Result<Hook, Error> {
        self.maps.register(interface.ifindex, settled_ns)?;
        match attach::attach(&mut self.ebpf, &mut self.owner, interface, hook) {
            Ok(attachment) => {
                let hook = attachment.hook();
                self.attached.insert(interface.ifindex, attachment);
                Ok(hook)
            }
            Err(error) => {
                self.maps.release(interface.ifindex)?;
                Err(error)
            }
        }
    }

    /// Detaches from an interface, there or gone. Its counts stay until [`Self::release`].
    pub fn detach(&mut self, ifindex: u32) {
        self.attached.remove(&ifindex);
    }

    /// Forgets an interface that was detached: its flows and its totals are for another now.
    pub fn release(&mut self, ifindex: u32, flows: &[FlowKey]) -> Result<(), Error> {
        self.maps.remove_flows(flows)?;
        self.maps.release(ifindex)
    }

    /// Reads every flow's entry. Nothing is changed by it: counters are cumulative.
    pub fn drain(&mut self, mut each: impl FnMut(Flow)) -> Result<(), Error> {
        self.ticks.update(read_clocks(&mut self.ebpf, &self.maps)?);
        let ticks = self.ticks;
        self.maps.drain(|key, stats| {
            let last_ns = ticks.monotonic_ns(stats.last_jiffies).max(stats.first_ns);
            each(Flow {
                key,
                stats,
                last_ns,
            });
        })
    }

    /// Removes a flow's entry, unless it has changed since it was read: a flow that lives on stays.
    /// Says whether the entry is gone.
    pub fn remove(&mut self, flow: &Flow) -> Result<bool, Error> {
        self.maps.remove_unchanged(&flow.key, &flow.stats)
    }

    /// The exact totals of a registered interface.
    pub fn totals(&self, ifindex: u32) -> Result<Totals, Error> {
        Ok(self.maps.crossed(ifindex)?.wire)
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

    /// Registers an interface without attaching to it, so that [`Self::run`] can play its part.
    pub fn register(&mut self, ifindex: u32, settled_ns: u64) -> Result<(), Error> {
        self.maps.register(ifindex, settled_ns)
    }

    /// Runs one frame through a program, outside any interface (`BPF_PROG_TEST_RUN`).
    pub fn run(&mut self, program: &str, frame: &Frame<'_>) -> Result<Outcome, Error> {
        test_run::run(&mut self.ebpf, program, frame)
    }
}

/// Removes the filters that flowmons left which were killed, in the network namespace of the calling
/// thread, and their qdiscs where nobody else uses them. Those of live flowmons, and of others, stay.
/// Returns the interface of each filter that was removed.
pub fn remove_leftovers() -> Result<Vec<u32>, Error> {
    clsact::remove_leftovers().map_err(|error| Error::System {
        call: "looking for filters of a killed flowmon",
        error,
    })
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
