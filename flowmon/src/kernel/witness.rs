//! What the XDP programs count, and what they must know.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher as _, RandomState},
    net::IpAddr,
};

use aya::{
    Ebpf,
    maps::{Array, HashMap, Map, MapData, PerCpuArray},
};
use flowmon_common::{
    Address, Owned, Scans, Targets, Witness, hygiene::Hygiene, settings::MAX_OWNED,
};

use super::{Error, maps::Shared};

pub(super) struct WitnessMaps {
    witnesses: PerCpuArray<MapData, Shared<Witness>>,
    hygiene: Array<MapData, Shared<Hygiene>>,
    targets: Array<MapData, Shared<Targets>>,
    scans: Array<MapData, Shared<Scans>>,
    owned: HashMap<MapData, Shared<Owned>, u32>,
    /// Which of the two rows of targets is being written to.
    turn: Scans,
    /// What is in `owned`, by interface.
    owners: BTreeMap<u32, Vec<Address>>,
}

impl WitnessMaps {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, Error> {
        let mut take = |name: &'static str| -> Result<Map, Error> {
            ebpf.take_map(name).ok_or(Error::Mismatch { name })
        };
        let mut maps = Self {
            witnesses: take("WITNESSES")?.try_into()?,
            hygiene: take("HYGIENE")?.try_into()?,
            targets: take("TARGETS")?.try_into()?,
            scans: take("SCANS")?.try_into()?,
            owned: take("OWNED")?.try_into()?,
            turn: Scans {
                seed: RandomState::new().hash_one(0),
                ..Scans::default()
            },
            owners: BTreeMap::new(),
        };
        maps.scans.set(0, Shared(maps.turn), 0)?;
        Ok(maps)
    }

    /// Has a row begin with nothing.
    pub(super) fn clear(&mut self, slot: u16) -> Result<(), Error> {
        let slot = u32::from(slot);
        let cpus = self.witnesses.get(&slot, 0)?.len();
        let nothing = vec![Shared(Witness::default()); cpus];
        let nothing = nothing.try_into().map_err(|error| Error::System {
            call: "allocating per-CPU values",
            error,
        })?;
        self.witnesses.set(slot, nothing, 0)?;
        self.hygiene.set(slot, Shared(Hygiene::default()), 0)?;
        for row in [slot * 2, slot * 2 + 1] {
            self.targets.set(row, Shared(Targets::default()), 0)?;
        }
        Ok(())
    }

    pub(super) fn witness(&self, slot: u16) -> Result<Witness, Error> {
        let mut sum = Witness::default();
        for Shared(witness) in self.witnesses.get(&slot.into(), 0)?.iter() {
            sum += *witness;
        }
        Ok(sum)
    }

    pub(super) fn hygiene(&self, slot: u16) -> Result<Hygiene, Error> {
        let Shared(hygiene) = self.hygiene.get(&slot.into(), 0)?;
        Ok(hygiene)
    }

    /// From here on targets are noted elsewhere, so that those so far can be read.
    pub(super) fn turn(&mut self) -> Result<(), Error> {
        self.turn.generation ^= 1;
        Ok(self.scans.set(0, Shared(self.turn), 0)?)
    }

    /// Takes the targets that were noted before the last [`Self::turn`]. A program that was under
    /// way then may have noted one since, which is taken the next time.
    pub(super) fn targets(&mut self, slot: u16) -> Result<Targets, Error> {
        let row = u32::from(slot) * 2 + (self.turn.generation ^ 1);
        let Shared(targets) = self.targets.get(&row, 0)?;
        if targets != Targets::default() {
            self.targets.set(row, Shared(Targets::default()), 0)?;
        }
        Ok(targets)
    }

    /// Replaces the addresses of an interface's endpoint; returns the IP versions among them, as in
    /// `Endpoint::owned`. Until that is told, nobody asks for them.
    pub(super) fn own(&mut self, ifindex: u32, addresses: &[IpAddr]) -> Result<u16, Error> {
        self.disown(ifindex)?;
        let others: usize = self.owners.values().map(Vec::len).sum();
        if others + addresses.len() > MAX_OWNED as usize {
            return Err(Error::TooManyAddresses { limit: MAX_OWNED });
        }
        let mut versions = 0;
        let owned = self.owners.entry(ifindex).or_default();
        for address in addresses {
            let (version, address) = match *address {
                IpAddr::V4(address) => (4, address.into()),
                IpAddr::V6(address) => (6, address.into()),
            };
            let key = Owned { ifindex, address };
            self.owned.insert(Shared(key), 0, 0)?;
            if !owned.contains(&address) {
                owned.push(address);
            }
            versions |= 1 << version;
        }
        Ok(versions)
    }

    /// Forgets them.
    pub(super) fn disown(&mut self, ifindex: u32) -> Result<(), Error> {
        for address in self.owners.remove(&ifindex).unwrap_or_default() {
            self.owned.remove(&Shared(Owned { ifindex, address }))?;
        }
        Ok(())
    }
}
