//! An ICMP error is news about the flow it quotes.

use aya_ebpf::programs::TcContext;
use flowmon_common::{Direction, FlowKey, Parsed, parse::quoted};

use crate::{maps::FLOWS, packet::Skb, scratch};

/// Notes the error at the flow whose packet it quotes; that packet went the other way. The error
/// itself is counted as a flow of its own: it has other addresses, and often another sender.
#[inline(never)]
pub(crate) fn note_error(ctx: &TcContext, error: &Parsed, direction: Direction) {
    let skb = Skb(ctx);
    let Some(room) = scratch::quoted() else {
        return;
    };
    let packet = room.write(Parsed::EMPTY);
    if quoted(&skb, error, packet).is_err() {
        return;
    }
    let sent = direction.reversed();
    let key = FlowKey::new(skb.ifindex(), sent, packet);
    if let Some(flow) = FLOWS.get_ptr_mut(key) {
        // SAFETY: a pointer to a live entry of the map; the fields are notes, a lost update of
        // one of two errors at once is tolerable.
        let flow = unsafe { &mut *flow };
        flow.icmp_error = error.source_port | error.destination_port; // one of them is 0
        let half = flow.half_mut(sent);
        half.icmp_errors = half.icmp_errors.saturating_add(1);
    }
}
