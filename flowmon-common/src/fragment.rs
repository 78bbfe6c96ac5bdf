//! Only the first fragment of a datagram has ports; the others find them by these.

use crate::{abi::abi, key::FlowKey, parse::Parsed};

/// One fragmented datagram on one interface (RFC 791 3.2, RFC 8200 4.5).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FragmentKey {
    /// The fragments' flow, as far as every fragment tells it.
    pub flow: FlowKey,
    /// The datagram's identification.
    pub id: u32,
}
abi!(FragmentKey, size = 48, align = 4);

/// What the first fragment knew, from the endpoint's point of view.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FragmentOwner {
    /// The endpoint's port.
    pub local_port: u16,
    /// The peer's port.
    pub remote_port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// Named padding.
    pub reserved: [u8; 3],
}
abi!(FragmentOwner, size = 8, align = 2);

impl FragmentKey {
    /// The datagram that a fragment of `flow` belongs to.
    #[inline(always)]
    pub fn new(flow: &FlowKey, packet: &Parsed) -> Self {
        Self {
            flow: FlowKey {
                local_port: 0,
                remote_port: 0,
                // There may be further headers behind where it is cut: only the first fragment
                // knows what they lead to.
                protocol: 0,
                ..*flow
            },
            id: packet.fragment_id,
        }
    }
}

impl FragmentOwner {
    /// What later fragments need of `flow`.
    #[inline(always)]
    pub const fn of(flow: &FlowKey) -> Self {
        Self {
            local_port: flow.local_port,
            remote_port: flow.remote_port,
            protocol: flow.protocol,
            reserved: [0; 3],
        }
    }

    /// Completes the key of a later fragment.
    #[inline(always)]
    pub const fn complete(&self, flow: &mut FlowKey) {
        flow.local_port = self.local_port;
        flow.remote_port = self.remote_port;
        flow.protocol = self.protocol;
    }
}
