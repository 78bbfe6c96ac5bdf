//! Later fragments belong to the flow of their first.

use flowmon_common::{FlowKey, FragmentKey, FragmentOwner, Parsed, parse::Fragment};

use crate::maps::FRAGMENTS;

/// Remembers the ports of a first fragment, completes the key of a later one. A later fragment
/// whose first was not seen keeps its key without ports: counted, not dropped.
#[inline(never)]
pub(crate) fn resolve(packet: &Parsed, flow: &mut FlowKey) {
    let datagram = FragmentKey::new(flow, packet);
    match packet.fragment {
        // A failed insertion leaves the later fragments without ports, as above.
        Fragment::First => _ = FRAGMENTS.insert(datagram, FragmentOwner::of(flow), 0),
        Fragment::Later => {
            // SAFETY: read at once; the worst that reuse of the entry can do is to give the
            // ports of another first fragment of this hash bucket's flow.
            if let Some(owner) = unsafe { FRAGMENTS.get(datagram) } {
                owner.complete(flow);
            }
        }
        Fragment::No => {}
    }
}
