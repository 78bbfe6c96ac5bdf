//! The maps, typed.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::{AsFd as _, OwnedFd},
};

use aya::{
    Ebpf,
    maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray},
};
use flowmon_common::{
    Clocks, Counter, Crossed, Ended, Endpoint, FlowKey, FlowStats, Ledger, Totals, abi::Abi,
    latency::Latencies, settings::MAX_ENDPOINTS,
};

use super::{Error, batch::BatchReader};

/// Never: as `Endpoint::settled_ns`, while not both directions of an interface are seen.
pub(super) const UNSETTLED: u64 = u64::MAX;

/// Lets aya copy a shared type.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub(super) struct Shared<T: Abi>(pub(super) T);

// SAFETY: `Abi` promises what `Pod` asks for, and the wrapper is transparent.
unsafe impl<T: Abi> aya::Pod for Shared<T> {}

pub(super) struct Maps {
    flows: HashMap<MapData, Shared<FlowKey>, Shared<FlowStats>>,
    flows_fd: OwnedFd,
    reader: BatchReader<FlowKey, FlowStats>,
    totals: PerCpuArray<MapData, Shared<Crossed>>,
    latencies: Array<MapData, Shared<Latencies>>,
    counters: PerCpuArray<MapData, u64>,
    clocks: Array<MapData, Shared<Clocks>>,
    endpoints: HashMap<MapData, u32, Shared<Endpoint>>,
    ended: Array<MapData, Shared<Ended>>,
    ledger: Array<MapData, Shared<Ledger>>,
    slots: BTreeMap<u32, u16>,
    max_flows: u32,
}

impl Maps {
    /// With what is in them already, if they are a daemon's.
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, Error> {
        let mut take = |name: &'static str| ebpf.take_map(name).ok_or(Error::Mismatch { name });
        let flows = take("FLOWS")?;
        let (flows_fd, max_flows) = facts(&flows)?;
        let mut maps = Self {
            flows_fd,
            flows: flows.try_into()?,
            reader: BatchReader::new(max_flows),
            totals: take("TOTALS")?.try_into()?,
            latencies: take("LATENCIES")?.try_into()?,
            counters: take("COUNTERS")?.try_into()?,
            clocks: take("CLOCKS")?.try_into()?,
            endpoints: take("ENDPOINTS")?.try_into()?,
            ended: take("ENDED")?.try_into()?,
            ledger: take("LEDGER")?.try_into()?,
            slots: BTreeMap::new(),
            max_flows,
        };
        for entry in &maps.endpoints {
            let (ifindex, Shared(endpoint)) = entry?;
            maps.slots.insert(ifindex, endpoint.slot);
        }
        maps.end_release()?;
        Ok(maps)
    }

    /// A daemon that was killed while it forgot an interface had settled its account before.
    fn end_release(&mut self) -> Result<(), Error> {
        let ifindex = self.ledger()?.last;
        if !self.slots.contains_key(&ifindex) {
            return Ok(());
        }
        let mut flows = Vec::new();
        self.drain(|key, _| {
            if key.ifindex == ifindex {
                flows.push(*key);
            }
        })?;
        self.remove_flows(&flows)?;
        self.release(ifindex)
    }

    /// Flows there is room for.
    pub(super) const fn max_flows(&self) -> u32 {
        self.max_flows
    }

    /// The interfaces that have a row.
    pub(super) fn registered(&self) -> impl Iterator<Item = u32> {
        self.slots.keys().copied()
    }

    /// What was kept of flows that have left the map.
    pub(super) fn ended(&self, ifindex: u32) -> Result<Ended, Error> {
        let Some(&slot) = self.slots.get(&ifindex) else {
            return Ok(Ended::default());
        };
        let Shared(ended) = self.ended.get(&slot.into(), 0)?;
        Ok(ended)
    }

    pub(super) fn keep_ended(&mut self, ifindex: u32, ended: Ended) -> Result<(), Error> {
        if let Some(&slot) = self.slots.get(&ifindex) {
            self.ended.set(slot.into(), Shared(ended), 0)?;
        }
        Ok(())
    }

    pub(super) fn ledger(&self) -> Result<Ledger, Error> {
        let Shared(ledger) = self.ledger.get(&0, 0)?;
        Ok(ledger)
    }

    pub(super) fn keep_times(
        &mut self,
        drained_ns: u64,
        clock_offset_ns: i64,
        evicted_ns: Option<u64>,
    ) -> Result<(), Error> {
        let ledger = self.ledger()?;
        self.keep(Ledger {
            drained_ns,
            clock_offset_ns,
            evicted_ns: evicted_ns.unwrap_or(0),
            ..ledger
        })
    }

    /// Adds an interface that is about to be forgotten to those that left.
    pub(super) fn settle(
        &mut self,
        ifindex: u32,
        totals: Totals,
        ended: Ended,
    ) -> Result<(), Error> {
        let mut ledger = self.ledger()?;
        ledger.totals += totals;
        ledger.ended += ended;
        ledger.interfaces = ledger.interfaces.saturating_add(1);
        ledger.last = ifindex;
        self.keep(ledger)
    }

    fn keep(&mut self, ledger: Ledger) -> Result<(), Error> {
        Ok(self.ledger.set(0, Shared(ledger), 0)?)
    }

    /// Gives an interface a row of the totals, which starts at nothing; says which.
    pub(super) fn register(&mut self, ifindex: u32, settled_ns: u64) -> Result<u16, Error> {
        let taken: BTreeSet<u16> = self.slots.values().copied().collect();
        let slot = (0..MAX_ENDPOINTS)
            .find(|slot| !taken.contains(slot))
            .ok_or(Error::TooManyInterfaces {
                limit: MAX_ENDPOINTS,
            })?;
        self.clear_totals(slot)?;
        let nothing = Shared(Latencies::default());
        self.latencies.set(slot.into(), nothing, 0)?;
        self.ended.set(slot.into(), Shared(Ended::default()), 0)?;
        let ledger = self.ledger()?;
        if ledger.last == ifindex {
            self.keep(Ledger { last: 0, ..ledger })?;
        }
        let endpoint = Endpoint {
            settled_ns,
            slot,
            owned: 0,
            reserved: 0,
        };
        self.endpoints.insert(ifindex, Shared(endpoint), 0)?;
        self.slots.insert(ifindex, slot);
        Ok(slot)
    }

    /// The row of an interface.
    pub(super) fn slot(&self, ifindex: u32) -> Option<u16> {
        self.slots.get(&ifindex).copied()
    }

    /// Tells of which IP versions the endpoint's addresses are known; see `Endpoint::owned`.
    pub(super) fn set_owned(&mut self, ifindex: u32, versions: u16) -> Result<(), Error> {
        self.change(ifindex, |endpoint| endpoint.owned = versions)
    }

    /// Sees both directions of an interface from here on; see `Endpoint::settled_ns`. One that was
    /// inherited has done so before.
    pub(super) fn settle_from(&mut self, ifindex: u32, settled_ns: u64) -> Result<(), Error> {
        self.change(ifindex, |endpoint| {
            if endpoint.settled_ns == UNSETTLED {
                endpoint.settled_ns = settled_ns;
            }
        })
    }

    /// Is about to see one direction only.
    pub(super) fn unsettle(&mut self, ifindex: u32) -> Result<(), Error> {
        self.change(ifindex, |endpoint| endpoint.settled_ns = UNSETTLED)
    }

    fn change(&mut self, ifindex: u32, change: impl FnOnce(&mut Endpoint)) -> Result<(), Error> {
        let Shared(mut endpoint) = self.endpoints.get(&ifindex, 0)?;
        change(&mut endpoint);
        Ok(self.endpoints.insert(ifindex, Shared(endpoint), 0)?)
    }

    /// Takes the row back. The interface's programs are detached by now.
    pub(super) fn release(&mut self, ifindex: u32) -> Result<(), Error> {
        if self.slots.remove(&ifindex).is_some() {
            self.endpoints.remove(&ifindex)?;
        }
        Ok(())
    }

    fn clear_totals(&mut self, slot: u16) -> Result<(), Error> {
        let cpus = self.totals.get(&slot.into(), 0)?.len();
        let nothing = vec![Shared(Crossed::default()); cpus];
        let nothing = nothing.try_into().map_err(|error| Error::System {
            call: "allocating per-CPU values",
            error,
        })?;
        Ok(self.totals.set(slot.into(), nothing, 0)?)
    }

    /// Who opened it may be known better than the entry says, which does not change by itself.
    pub(super) fn remove_unchanged(
        &mut self,
        key: &FlowKey,
        known: &FlowStats,
    ) -> Result<bool, Error> {
        let known = |now: &FlowStats| FlowStats {
            initiator: now.initiator,
            ..*known
        };
        match self.flows.get(&Shared(*key), 0) {
            Ok(Shared(now)) if now != known(&now) => Ok(false),
            Ok(_) => self.remove_flows(&[*key]).map(|()| true),
            Err(MapError::KeyNotFound) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn remove_flows(&mut self, flows: &[FlowKey]) -> Result<(), Error> {
        for key in flows {
            match self.flows.remove(&Shared(*key)) {
                // The kernel may have evicted it since it was read.
                Ok(()) | Err(MapError::KeyNotFound) => {}
                Err(MapError::SyscallError(error))
                    if error.io_error.raw_os_error() == Some(nix::libc::ENOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    pub(super) fn drain(&mut self, each: impl FnMut(&FlowKey, &FlowStats)) -> Result<(), Error> {
        self.reader
            .read(self.flows_fd.as_fd(), each)
            .map_err(|error| Error::System {
                call: "BPF_MAP_LOOKUP_BATCH",
                error,
            })
    }

    pub(super) fn crossed(&self, ifindex: u32) -> Result<Crossed, Error> {
        let mut sum = Crossed::default();
        if let Some(&slot) = self.slots.get(&ifindex) {
            for Shared(crossed) in self.totals.get(&slot.into(), 0)?.iter() {
                sum += *crossed;
            }
        }
        Ok(sum)
    }

    pub(super) fn latencies(&self, ifindex: u32) -> Result<Latencies, Error> {
        let Some(&slot) = self.slots.get(&ifindex) else {
            return Ok(Latencies::default());
        };
        let Shared(latencies) = self.latencies.get(&slot.into(), 0)?;
        Ok(latencies)
    }

    /// The kernel's clocks, when they were last read.
    pub(super) fn clocks(&self) -> Result<Clocks, Error> {
        let Shared(clocks) = self.clocks.get(&0, 0)?;
        Ok(clocks)
    }

    pub(super) fn counters(&self) -> Result<Vec<(Counter, u64)>, Error> {
        Counter::ALL
            .into_iter()
            .map(|counter| Ok((counter, self.counter(counter)?)))
            .collect()
    }

    pub(super) fn counter(&self, counter: Counter) -> Result<u64, Error> {
        Ok(self.counters.get(&(counter as u32), 0)?.iter().sum())
    }
}

/// The flow map's descriptor, and how much room it has.
fn facts(map: &Map) -> Result<(OwnedFd, u32), Error> {
    let Map::LruHashMap(data) = map else {
        return Err(Error::Mismatch { name: "FLOWS" });
    };
    let fd = data.fd().as_fd().try_clone_to_owned();
    let fd = fd.map_err(|error| Error::System { call: "dup", error })?;
    Ok((fd, data.info()?.max_entries()))
}
