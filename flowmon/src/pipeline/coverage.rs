//! What the veths' far ends counted, beside what passed the hooks.

use std::collections::BTreeMap;

use flowmon_common::{Crossed, Totals, Traffic};

use super::{Error, attachments::Attachments};
use crate::{
    kernel::Datapath,
    model::{Bypass, Coverage, InterfaceCounters, bypassed},
    netlink::PeerCounters,
};

/// Packets that may be between the far end's counter and the hook: a CPU's backlog, as Linux limits
/// it by default (`net.core.netdev_max_backlog`).
const UNDER_WAY: u64 = 1000;

/// Bypasses of interfaces that are gone which are kept: the worst.
const MOST_PARTED: usize = 1000;

/// Compares the two. The far end's counter is always read first, and what passed the hook some time
/// later, so that what is under way is not taken for a bypass.
pub(super) struct Watch {
    peers: PeerCounters,
    ends: BTreeMap<u32, FarEnd>,
    /// Of interfaces that are watched no longer.
    parted: Coverage,
}

struct FarEnd {
    /// What had passed the hook when the comparison began, and a moment later had been counted.
    before: (Crossed, Totals),
    now: Totals,
    /// What was found when they were last compared.
    found: Vec<Bypass>,
}

impl Watch {
    pub(super) fn open() -> Result<Self, Error> {
        Ok(Self {
            peers: PeerCounters::open()?,
            ends: BTreeMap::new(),
            parted: Coverage::default(),
        })
    }

    /// From now on compares what is attached and was not compared so far. A far end that can't be
    /// read is not.
    pub(super) async fn begin(
        &mut self,
        datapath: &Datapath,
        attachments: &Attachments,
    ) -> Result<(), Error> {
        for (ifindex, peer) in attachments.peers() {
            if self.ends.contains_key(&ifindex) {
                continue;
            }
            let crossed = datapath.crossed(ifindex)?;
            match self.peers.of(peer).await {
                Ok(counters) => {
                    let now = from_its_end(counters);
                    let end = FarEnd {
                        before: (crossed, now),
                        now,
                        found: Vec::new(),
                    };
                    self.ends.insert(ifindex, end);
                }
                Err(error) => tracing::debug!(ifindex, "{error}"),
            }
        }
        Ok(())
    }

    /// Reads the far ends' counters.
    pub(super) async fn read(&mut self, attachments: &Attachments) {
        for (ifindex, peer) in attachments.peers() {
            let Some(end) = self.ends.get_mut(&ifindex) else {
                continue;
            };
            match self.peers.of(peer).await {
                Ok(counters) => end.now = from_its_end(counters),
                Err(error) => tracing::debug!(ifindex, "{error}"),
            }
        }
    }

    /// Compares what was read with what has passed the hooks by now, and says whether anything has
    /// not.
    pub(super) fn compare(
        &mut self,
        datapath: &Datapath,
        attachments: &Attachments,
    ) -> Result<bool, Error> {
        for (&ifindex, end) in &mut self.ends {
            let Some(endpoint) = attachments.endpoint(ifindex) else {
                continue;
            };
            let (before, counted) = (end.before.0, grown(end.before.1, end.now));
            let now = datapath.crossed(ifindex)?;
            let crossed = Crossed {
                wire: grown(before.wire, now.wire),
                buffers: grown(before.buffers, now.buffers),
            };
            end.found = bypassed(&crossed, &counted)
                .map(|(way, ratio, buffers)| Bypass {
                    interface: endpoint.interface.clone(),
                    ifindex,
                    way,
                    ratio,
                    buffers,
                })
                .collect();
        }
        Ok(self.ends.values().any(|end| !end.found.is_empty()))
    }

    /// The part of an interface's traffic that passed the hook, of the way of which less did, when it
    /// was last compared; none where it was not.
    pub(super) fn ratio(&self, ifindex: u32) -> Option<f64> {
        let found = &self.ends.get(&ifindex)?.found;
        let certain = found.iter().filter(|bypass| bypass.buffers > UNDER_WAY);
        Some(certain.map(|bypass| bypass.ratio).fold(1.0, f64::min))
    }

    /// What was found when they were last compared, without what may be under way.
    pub(super) fn so_far(&self) -> Coverage {
        let mut so_far = self.all();
        so_far.bypassed.retain(|bypass| bypass.buffers > UNDER_WAY);
        so_far
    }

    /// What was found when they were last compared.
    pub(super) fn all(&self) -> Coverage {
        let found = self.ends.values().flat_map(|end| &end.found);
        Coverage {
            compared: self.parted.compared + self.ends.len(),
            bypassed: self.parted.bypassed.iter().chain(found).cloned().collect(),
        }
    }

    /// An interface is watched no longer. Its far end may be gone: what counts is the last comparison.
    pub(super) fn part(&mut self, ifindex: u32) {
        if let Some(mut end) = self.ends.remove(&ifindex) {
            end.found.retain(|bypass| bypass.buffers > UNDER_WAY);
            self.parted.compared += 1;
            let bypassed = &mut self.parted.bypassed;
            bypassed.append(&mut end.found);
            bypassed.sort_by(|a, b| a.ratio.total_cmp(&b.ratio));
            bypassed.truncate(MOST_PARTED);
        }
    }
}

/// At the far end of a veth is the endpoint.
const fn from_its_end(counters: InterfaceCounters) -> Totals {
    Totals {
        tx: Traffic {
            packets: counters.tx_packets,
            bytes: counters.tx_bytes,
        },
        rx: Traffic {
            packets: counters.rx_packets,
            bytes: counters.rx_bytes,
        },
    }
}

fn grown(before: Totals, now: Totals) -> Totals {
    let difference = |before: Traffic, now: Traffic| Traffic {
        packets: now.packets.saturating_sub(before.packets),
        bytes: now.bytes.saturating_sub(before.bytes),
    };
    Totals {
        tx: difference(before.tx, now.tx),
        rx: difference(before.rx, now.rx),
    }
}
