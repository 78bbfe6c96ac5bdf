//! The kernel side, seen from userspace: load the programs, attach them, read what they count.
//!
//! The only room that names aya.

mod attach;
mod batch;
mod capability;
mod diagnose;
mod error;
mod events;
mod maps;
mod object;
mod tcx;
mod test_run;

use std::collections::BTreeMap;

use aya::Ebpf;
use flowmon_common::{Counter, FlowKey, FlowStats, Totals};

pub use attach::Hook;
pub use diagnose::{Check, Finding, diagnose};
pub use error::Error;
pub use events::{Diagnostics, Events};
pub use object::{ProgramFacts, is_embedded};
pub use test_run::{Frame, Outcome};

use crate::model::Interface;
use attach::Attachment;
use maps::Maps;

/// The loaded programs, their maps, and the interfaces they are attached to.
pub struct Datapath {
    ebpf: Ebpf,
    maps: Maps,
    attached: BTreeMap<u32, Attachment>,
}

impl Datapath {
    /// Loads the programs, with room for `max_flows` flows.
    pub fn load(max_flows: u32) -> Result<Self, Error> {
        let mut ebpf = object::load(max_flows)?;
        let maps = Maps::take(&mut ebpf, max_flows)?;
        Ok(Self {
            ebpf,
            maps,
            attached: BTreeMap::new(),
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
        match attach::attach(&mut self.ebpf, interface, hook) {
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
    pub fn drain(&mut self, each: impl FnMut(FlowKey, FlowStats)) -> Result<(), Error> {
        self.maps.drain(each)
    }

    /// The exact totals of a registered interface.
    pub fn totals(&self, ifindex: u32) -> Result<Totals, Error> {
        self.maps.totals(ifindex)
    }

    /// What the kernel side could not attribute, by cause.
    pub fn counters(&self) -> Result<Vec<(Counter, u64)>, Error> {
        self.maps.counters()
    }

    /// Size and verification effort of each program.
    pub fn program_facts(&self) -> Result<Vec<ProgramFacts>, Error> {
        object::facts(&self.ebpf)
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
