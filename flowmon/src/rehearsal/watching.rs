//! The datapath on everybody who is a pod.

use std::{collections::HashMap, net::SocketAddr};

use flowmon_common::FlowKey;

use super::Error;
use crate::{
    kernel::Datapath,
    lab::{Lab, Pod, Stage},
    model::{Flow, Protocol},
    netlink,
};

/// The datapath is attached to every pod of a stage.
#[derive(Debug)]
pub(super) struct Watched {
    ifindices: Vec<u32>,
}

/// A flow, where it is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Spot {
    pub(super) ifindex: u32,
    pub(super) protocol: Protocol,
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
}

/// Flows by where they are seen.
pub(super) type Flows = HashMap<Spot, Flow>;

/// All flows so far.
pub(super) fn read(datapath: &mut Datapath) -> Result<Flows, Error> {
    let mut flows = Flows::new();
    datapath.drain(|flow| {
        if let Some(spot) = Spot::of(flow) {
            flows.insert(spot, *flow);
        }
    })?;
    Ok(flows)
}

impl Watched {
    pub(super) fn attach(datapath: &mut Datapath, stage: &Stage) -> Result<Self, Error> {
        let mut watched = Self {
            ifindices: Vec::new(),
        };
        for (lab, pods) in &stage.nodes {
            watched.attach_on(datapath, lab, pods)?;
        }
        Ok(watched)
    }

    /// Interfaces are those of the calling thread's namespace.
    fn attach_on(&mut self, datapath: &mut Datapath, lab: &Lab, pods: &[Pod]) -> Result<(), Error> {
        let interfaces = lab.node().block_on(netlink::list)??;
        lab.node().run(|| -> Result<(), Error> {
            for interface in &interfaces {
                if pods.iter().any(|pod| pod.ifindex == interface.ifindex) {
                    // Nobody has spoken there yet: who speaks first opens.
                    datapath.attach(interface, None, 0)?;
                    self.ifindices.push(interface.ifindex);
                }
            }
            Ok(())
        })?
    }

    /// Detaches, and forgets what was counted: another stage uses the same indices.
    pub(super) fn finish(self, datapath: &mut Datapath, stage: &Stage) -> Result<(), Error> {
        for (lab, pods) in &stage.nodes {
            lab.node().run(|| {
                for pod in pods {
                    datapath.detach(pod.ifindex);
                }
            })?;
        }
        let mut keys: HashMap<u32, Vec<FlowKey>> = HashMap::new();
        datapath.drain(|flow| keys.entry(flow.key.ifindex).or_default().push(flow.key))?;
        for ifindex in self.ifindices {
            let keys = keys.remove(&ifindex).unwrap_or_default();
            datapath.release(ifindex, &keys)?;
        }
        Ok(())
    }
}

impl Spot {
    /// Ports, or what the key has in their place.
    fn of(flow: &Flow) -> Option<Self> {
        let key = &flow.key;
        Some(Self {
            ifindex: key.ifindex,
            protocol: flow.protocol(),
            local: (flow.local_ip()?, key.local_port).into(),
            remote: (flow.remote_ip()?, key.remote_port).into(),
        })
    }
}
